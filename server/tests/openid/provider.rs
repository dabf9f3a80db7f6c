//! A provider of OpenID Connect that signs as it is told: rightly, or as an attacker would have it. It keeps the codes that it
//! gave, each for one use by who knows the verifier, and speaks HTTP on a port of its own.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, Mac as _};
use openidconnect::{
    JsonWebKeyId, PrivateSigningKey as _,
    core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm},
    url::Url,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the server under test is called here, and its secret.
pub(crate) const CLIENT: &str = "stepcast";
pub(crate) const SECRET: &str = "of the client & its + signs";

/// What it says of a person.
pub(crate) struct Says {
    /// `sub`.
    pub(crate) subject: String,
    /// `aud`.
    pub(crate) audience: Value,
    /// `iss`, if not its own.
    pub(crate) issuer: Option<String>,
    /// `nonce`, if not that of the request.
    pub(crate) nonce: Option<Value>,
    /// Seconds from now to `exp`.
    pub(crate) expires: i64,
    /// `EdDSA`, `HS256` by the secret of the client, or `none`.
    pub(crate) algorithm: &'static str,
    /// The number of the key that it signs by.
    pub(crate) signs_by: u8,
    /// The number of the key that it says it signs by.
    pub(crate) names: u8,
    /// The number of the key that it publishes.
    pub(crate) publishes: u8,
    /// `preferred_username`.
    pub(crate) name: Option<String>,
    /// What `/token` answers instead of all that.
    pub(crate) token_answer: Option<Vec<u8>>,
    /// What it says of itself, besides or instead of what is right.
    pub(crate) metadata: Value,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            subject: "248289761001".to_owned(),
            audience: json!(CLIENT),
            issuer: None,
            nonce: None,
            expires: 300,
            algorithm: "EdDSA",
            signs_by: 1,
            names: 1,
            publishes: 1,
            name: Some("Grace".to_owned()),
            token_answer: None,
            metadata: json!({}),
        }
    }
}

/// A code that was given: the nonce and the challenge of its request.
struct Given {
    nonce: String,
    challenge: String,
    redirect: String,
}

struct State {
    says: Says,
    given: HashMap<String, Given>,
    /// How many codes were ever given.
    codes: u64,
    asked: Vec<String>,
}

/// A running provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    state: Arc<Mutex<State>>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state =
            Arc::new(Mutex::new(State { says: Says::default(), given: HashMap::new(), codes: 0, asked: Vec::new() }));
        let (of_thread, own) = (Arc::clone(&state), issuer.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Who asked may have gone.
                let _ = answer(&of_thread, &own, stream.unwrap());
            }
        });
        Self { issuer, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on it says this.
    pub(crate) fn says(&self, says: Says) {
        self.state().says = says;
    }

    /// The paths that it was asked for since it was looked at last.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    /// A person has signed in at the address that the server sent them to: what the browser is sent back with.
    pub(crate) fn consents(&self, address: &str) -> String {
        let asked = parameters(address);
        assert!(address.starts_with(&format!("{}/authorize?", self.issuer)), "{address}");
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", CLIENT));
        assert_eq!(asked["code_challenge_method"], "S256");
        let mut scopes: Vec<&str> = asked["scope"].split(' ').collect();
        scopes.sort_unstable();
        assert_eq!(scopes, ["openid", "profile"]);
        let mut state = self.state();
        state.codes += 1;
        let code = format!("code-{}", state.codes);
        let of = |name: &str| asked[name].clone();
        let given = Given { nonce: of("nonce"), challenge: of("code_challenge"), redirect: of("redirect_uri") };
        state.given.insert(code.clone(), given);
        format!("?code={code}&state={}", asked["state"])
    }
}

/// What stands behind the `?` of an address.
pub(crate) fn parameters(address: &str) -> HashMap<String, String> {
    Url::parse(address).unwrap().query_pairs().into_owned().collect()
}

fn key(number: u8) -> CoreEdDsaPrivateSigningKey {
    // RFC 8410, section 7: what stands before the 32 bytes of a private key.
    let begin = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let bytes = [&begin[..], &[number; 32]].concat();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(bytes));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(number.to_string()))).unwrap()
}

fn answer(state: &Mutex<State>, issuer: &str, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut state = state.lock().unwrap();
    state.asked.push(path.clone());
    let (status, text) = match path.as_str() {
        "/.well-known/openid-configuration" => {
            let mut metadata = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "EdDSA", "HS256", "none"],
            });
            for (name, value) in state.says.metadata.as_object().unwrap() {
                metadata[name] = value.clone();
            }
            (200, metadata.to_string().into_bytes())
        }
        "/keys" => {
            let published = key(state.says.publishes).as_verification_key();
            (200, json!({"keys": [published]}).to_string().into_bytes())
        }
        "/token" => token(&mut state, issuer, &authorization, &body),
        _ => (404, b"{}".to_vec()),
    };
    drop(state);
    let mut stream = stream;
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(&text)
}

fn token(state: &mut State, issuer: &str, authorization: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let refused = |why: &str| (400, json!({"error": why}).to_string().into_bytes());
    let form: HashMap<String, String> = openidconnect::url::form_urlencoded::parse(body).into_owned().collect();
    // RFC 6749, 2.3.1: both are encoded as in a form before they are put together.
    let encoded = |text: &str| openidconnect::url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let right = format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET))));
    if authorization != right {
        return refused("invalid_client");
    }
    let Some(given) = form.get("code").and_then(|code| state.given.remove(code)) else {
        return refused("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    if challenge != given.challenge || form["redirect_uri"] != given.redirect {
        return refused("invalid_grant");
    }
    let says = &state.says;
    if let Some(answer) = &says.token_answer {
        return (200, answer.clone());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let mut claims = json!({
        "iss": says.issuer.as_deref().unwrap_or(issuer),
        "sub": says.subject,
        "aud": says.audience,
        "exp": now + says.expires,
        "iat": now,
        "nonce": says.nonce.clone().unwrap_or(json!(given.nonce)),
        "email": "ada@example.org",
        "email_verified": true,
    });
    if claims["nonce"].is_null() {
        claims.as_object_mut().unwrap().remove("nonce");
    }
    if let Some(name) = &says.name {
        claims["preferred_username"] = json!(name);
    }
    let header = json!({"alg": says.algorithm, "typ": "JWT", "kid": says.names.to_string()});
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = match says.algorithm {
        "EdDSA" => key(says.signs_by).sign(&CoreJwsSigningAlgorithm::EdDsa, signed.as_bytes()).unwrap(),
        "HS256" => {
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        _ => Vec::new(),
    };
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let answer = json!({"access_token": "x", "token_type": "Bearer", "id_token": token});
    (200, answer.to_string().into_bytes())
}
