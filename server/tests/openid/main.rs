//! Sign-in by a provider of OpenID Connect that signs rightly and wrongly, from browsers that bring what is theirs and what is
//! not. With a real provider, in a real browser: `end2end/tests/flows/openid.spec.ts`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod browser;
mod provider;
#[path = "../support/mod.rs"]
mod support;

use std::{
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use browser::{Browser, Seen};
use provider::{CLIENT, Provider, SECRET, Says, parameters};
use serde_json::{Value, json};
use support::{PATIENCE, STEPCAST, Server, refused};

const ANSWER: &str = "/sign-in/openid/answer";
const PASSWORD: &str = "three blue kettles";

/// A server that signs people in by this provider.
fn server(provider: &Provider, more: &[&str]) -> Server {
    let issuer = ["--openid-issuer", &provider.issuer, "--openid-client-id", CLIENT, "--openid-client-secret", SECRET];
    Server::start(&[&issuer, &["--openid-name", "Team"][..], more].concat())
}

/// Goes to the provider and comes back: what the browser is to be sent to the answer's address with.
fn goes(browser: &mut Browser, provider: &Provider, query: &str) -> String {
    let sent = browser.get(&format!("/sign-in/openid{query}"));
    assert_eq!(sent.status, 303, "{}", sent.text);
    provider.consents(&sent.location)
}

fn signs_in(browser: &mut Browser, provider: &Provider, query: &str) -> Seen {
    let brought = goes(browser, provider, query);
    browser.get(&format!("{ANSWER}{brought}"))
}

fn account(data_dir: &Path, name: &str, role: &str) {
    let mut command = Command::new(STEPCAST);
    command.args(["account", "create", "--name", name, "--role", role, "--data-dir"]).arg(data_dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The last entries of a kind: who and what.
fn audit(server: &Server, action: &str) -> Vec<(String, String)> {
    let entries = server.get(&format!("/api/v1/audit?action={action}")).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.as_array().unwrap().iter().map(|entry| (text(&entry["name"]), text(&entry["detail"]))).collect()
}

#[test]
fn whom_the_provider_knows_gets_an_account_once_and_a_session_that_is_new() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "builder"]);
    let mut browser = Browser::new(&server.url);
    let sent = browser.get("/sign-in/openid?next=/tokens");
    let ticket = &sent.set[0];
    for must in ["stepcast_openid=", "; HttpOnly", "; SameSite=Lax", "; Max-Age=600", "; Path=/sign-in/openid"] {
        assert!(ticket.contains(must), "{ticket}");
    }
    let asked = parameters(&sent.location);
    assert_eq!(asked["redirect_uri"], format!("{}{ANSWER}", server.url));
    for secret in ["state", "nonce"] {
        assert!(asked[secret].len() >= 22 && !ticket.contains(&asked[secret]), "{secret}");
    }
    let back = browser.get(&format!("{ANSWER}{}", provider.consents(&sent.location)));
    assert_eq!((back.status, back.location.as_str()), (303, "/tokens"), "{}", back.text);
    let own = browser.who().unwrap();
    assert_eq!((&own["name"], &own["grants"]), (&json!("Grace"), &json!({"everywhere": "builder"})));
    assert_eq!((&own["signs_in"], &own["provider"]), (&json!({"password": false, "provider": true}), &json!("Team")));
    let first = browser.cookies["stepcast_session"].clone();
    // Once more in the same browser: the same account, another session, and the former one is worth nothing.
    let mut former = browser.clone();
    assert_eq!(signs_in(&mut browser, &provider, "").location, "/");
    assert_eq!(browser.who().unwrap()["account"], own["account"]);
    assert_ne!(browser.cookies["stepcast_session"], first);
    assert_eq!(former.who(), None);
    // Another name there changes nothing; another subject is somebody else, whatever they are called.
    provider.says(Says { name: Some("Hopper".to_owned()), ..Says::default() });
    signs_in(&mut browser, &provider, "");
    assert_eq!(browser.who().unwrap()["name"], "Grace");
    provider.says(Says { subject: "other".to_owned(), ..Says::default() });
    let mut other = Browser::new(&server.url);
    signs_in(&mut other, &provider, "");
    assert_eq!(other.who().unwrap()["name"], "Grace 2");
    assert_eq!(audit(&server, "account_created").len(), 2);
    assert_eq!(audit(&server, "signed_in")[0], ("Grace 2".to_owned(), "By Team.".to_owned()));
    // No way leads out of this site.
    for next in ["https://evil.example/", "//evil.example", "/\\evil.example"] {
        let next = next.replace('\\', "%5C");
        assert_eq!(signs_in(&mut other, &provider, &format!("?next={next}")).location, "/", "{next}");
    }
}

#[test]
fn an_answer_that_is_not_signed_by_the_provider_for_this_sign_in_lets_nobody_in() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "admin"]);
    let mut browser = Browser::new(&server.url);
    let mut judge = |what: &str, says: Says, word: &str| {
        provider.says(says);
        let back = signs_in(&mut browser, &provider, "");
        assert_eq!((back.status, back.location.as_str()), (303, &*format!("/sign-in?openid={word}")), "{what}");
        assert_eq!(browser.who(), None, "{what}");
        let page = browser.get(&back.location);
        assert!(page.text.contains("role=\"alert\""), "{what}: nothing is told");
    };
    let hour = 3600;
    for (what, says) in [
        ("another key under the name of the right one", Says { signs_by: 2, ..Says::default() }),
        ("a key that nobody has published", Says { signs_by: 2, names: 2, ..Says::default() }),
        ("the client's secret", Says { algorithm: "HS256", ..Says::default() }),
        ("nothing", Says { algorithm: "none", ..Says::default() }),
        ("for another client", Says { audience: json!("another"), ..Says::default() }),
        ("for others, too", Says { audience: json!([CLIENT, "another"]), ..Says::default() }),
        ("for nobody", Says { audience: json!([]), ..Says::default() }),
        ("another sign-in", Says { nonce: Some(json!("another")), ..Says::default() }),
        ("no sign-in", Says { nonce: Some(Value::Null), ..Says::default() }),
        ("another issuer", Says { issuer: Some("https://id.example.org".to_owned()), ..Says::default() }),
        ("an hour too late", Says { expires: -hour, ..Says::default() }),
        ("nobody's subject", Says { subject: String::new(), ..Says::default() }),
        ("a long subject", Says { subject: "x".repeat(300), ..Says::default() }),
        (
            "no token",
            Says { token_answer: Some(br#"{"access_token":"x","token_type":"Bearer"}"#.to_vec()), ..Says::default() },
        ),
        ("no JSON", Says { token_answer: Some(b"<html>".to_vec()), ..Says::default() }),
    ] {
        judge(what, says, "untrusted");
    }
    let long = format!("{{\"id_token\":\"{}\"}}", "x".repeat(2_000_000)).into_bytes();
    judge("more than is read", Says { token_answer: Some(long), ..Says::default() }, "unreachable");
    assert_eq!(server.get("/api/v1/accounts").json(), json!([]), "nobody got an account");
    let refused = audit(&server, "sign_in_refused");
    assert_eq!(refused.len(), 16);
    assert!(refused[1].1.contains("By Team: Its answer cannot be trusted"), "{refused:?}");
    provider.says(Says::default());
    let mut program = Browser::new(&server.url);
    program.is_person = false;
    assert_eq!(signs_in(&mut program, &provider, "").status, 303);
    assert!(program.who().is_some(), "what is right lets somebody in");
}

#[test]
fn an_answer_is_good_once_and_in_the_browser_that_asked_for_it() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "viewer"]);
    let (mut ada, mut eve) = (Browser::new(&server.url), Browser::new(&server.url));
    let brought = goes(&mut ada, &provider, "");
    provider.asked();
    let late = |seen: &Seen| assert_eq!(seen.location, "/sign-in?openid=late");
    // Eve has no ticket; with one of her own the state is not hers; and a ticket that she has made herself does not open.
    late(&eve.get(&format!("{ANSWER}{brought}")));
    goes(&mut eve, &provider, "");
    late(&eve.get(&format!("{ANSWER}{brought}")));
    eve.cookies.insert("stepcast_openid".to_owned(), "A".repeat(300));
    late(&eve.get(&format!("{ANSWER}{brought}")));
    assert!(!provider.asked().contains(&"/token".to_owned()), "nobody asked what the code stands for");
    // Another issuer, no code, or both a code and an error: that is no answer of this provider.
    for wrong in ["&iss=https%3A%2F%2Fid.example.org", "&error=access_denied"] {
        late(&ada.clone().get(&format!("{ANSWER}{brought}{wrong}")));
    }
    let kept = ada.clone();
    assert_eq!(ada.get(&format!("{ANSWER}{brought}")).location, "/");
    assert!(ada.who().is_some());
    assert!(!ada.cookies.contains_key("stepcast_openid"), "the ticket is taken away");
    // Whoever has kept a copy of all that was sent gains nothing, not even with another code.
    provider.asked();
    late(&kept.clone().get(&format!("{ANSWER}{brought}")));
    let other = goes(&mut Browser::new(&server.url), &provider, "");
    let code = other.split('&').next().unwrap();
    let state = brought.split('&').nth(1).unwrap();
    late(&kept.clone().get(&format!("{ANSWER}{code}&{state}")));
    assert!(!provider.asked().contains(&"/token".to_owned()));
    // A code of another sign-in is not good with one's own ticket: the verifier is another one.
    let stolen = goes(&mut Browser::new(&server.url), &provider, "");
    let own = goes(&mut eve, &provider, "");
    let mixed = format!("{}&{}", stolen.split('&').next().unwrap(), own.split('&').nth(1).unwrap());
    assert_eq!(eve.get(&format!("{ANSWER}{mixed}")).location, "/sign-in?openid=refused");
    assert_eq!(eve.who(), None);
}

#[test]
fn who_was_not_invited_is_refused_and_an_invitation_lets_one_in() {
    let provider = Provider::start();
    let server = server(&provider, &[]);
    account(server.data_dir(), "Ada", "admin");
    // The name and the address of an account that is there make nobody its owner.
    provider.says(Says { name: Some("Ada".to_owned()), ..Says::default() });
    let mut browser = Browser::new(&server.url);
    let back = signs_in(&mut browser, &provider, "?next=/tokens");
    assert_eq!(back.location, "/sign-in?openid=stranger&next=/tokens");
    assert_eq!(browser.who(), None);
    assert!(browser.get(&back.location).text.contains("ask an admin for an invitation"));
    let invite = || {
        let made = server.post("/api/v1/invitations", &json!({"grants": {"pipelines": {"site": "builder"}}}));
        made.json()["link"].as_str().unwrap().split_once("invitation=").unwrap().1.to_owned()
    };
    let secret = invite();
    let page = browser.get(&format!("/welcome?invitation={secret}"));
    assert!(
        page.text.contains("Accept with Team") && page.text.contains("/sign-in/openid?invitation="),
        "{}",
        page.text
    );
    let (mut first, mut second) = (browser.clone(), Browser::new(&server.url));
    let query = format!("?invitation={secret}");
    let both = (goes(&mut first, &provider, &query), goes(&mut second, &provider, &query));
    assert_eq!(first.get(&format!("{ANSWER}{}", both.0)).location, "/");
    let own = first.who().unwrap();
    assert_eq!((&own["name"], &own["grants"]), (&json!("Ada 2"), &json!({"pipelines": {"site": "builder"}})));
    provider.says(Says { subject: "late".to_owned(), ..Says::default() });
    let gone = second.get(&format!("{ANSWER}{}", both.1));
    assert_eq!(gone.location, format!("/welcome?invitation={secret}"));
    assert!(second.get(&gone.location).text.contains("This link was used"));
    assert_eq!(second.who(), None);
    // Who has an account already leaves an invitation as it is.
    provider.says(Says::default());
    let unused = invite();
    assert_eq!(signs_in(&mut second, &provider, &format!("?invitation={unused}")).location, "/");
    assert_eq!(second.who().unwrap()["account"], own["account"]);
    assert_eq!(server.get("/api/v1/invitations").json().as_array().unwrap().len(), 1);
    // Disabled is disabled, by whatever way one comes.
    let id = own["account"].as_str().unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let patch = agent.patch(format!("{}/api/v1/accounts/{id}", server.url));
    let patched = patch.header("authorization", format!("Bearer {}", server.token)).send(r#"{"disabled":true}"#);
    assert_eq!(patched.unwrap().status(), 200);
    assert_eq!(signs_in(&mut second, &provider, "").location, "/sign-in?openid=disabled");
    assert_eq!(second.who(), None);
    assert!(audit(&server, "sign_in_refused")[0].1.contains("The account is disabled"));
}

#[test]
fn an_account_is_linked_by_its_person_with_the_password_and_unlinked_while_that_stands() {
    let provider = Provider::start();
    let server = server(&provider, &[]);
    account(server.data_dir(), "Ada", "admin");
    account(server.data_dir(), "Bob", "viewer");
    let sign_in = |name: &str| {
        let mut browser = Browser::new(&server.url);
        let body = format!("name={name}&password={}", PASSWORD.replace(' ', "+"));
        assert_eq!(browser.form("/sign-in", &body).location, "/");
        browser
    };
    let mut ada = sign_in("Ada");
    assert_eq!(ada.form("/account/openid", "password=wrong").location, "/account?openid=password");
    assert_eq!(ada.form("/account/openid", "").location, "/account?openid=password");
    let told = ("Ada".to_owned(), "Linking, with a wrong password.".to_owned());
    assert_eq!(audit(&server, "sign_in_refused"), [told.clone(), told]);
    let with_password = format!("password={}", PASSWORD.replace(' ', "+"));
    let go = |browser: &mut Browser| {
        let page = browser.form("/account/openid", &with_password);
        let address = page.refresh.strip_prefix("0; url=").unwrap_or_else(|| panic!("{} {}", page.status, page.text));
        assert!(page.text.contains("Go on to Team"));
        provider.consents(address)
    };
    // Another session of the same person did not ask for it, nor did who signs in here meanwhile.
    let brought = go(&mut ada);
    let mut elsewhere = sign_in("Ada");
    elsewhere.cookies.insert("stepcast_openid".to_owned(), ada.cookies["stepcast_openid"].clone());
    assert_eq!(elsewhere.get(&format!("{ANSWER}{brought}")).location, "/account?openid=late");
    let brought = go(&mut ada);
    let mut bob = sign_in("Bob");
    bob.cookies.insert("stepcast_openid".to_owned(), ada.cookies["stepcast_openid"].clone());
    assert_eq!(bob.get(&format!("{ANSWER}{brought}")).location, "/account?openid=late");
    let brought = go(&mut ada);
    assert_eq!(ada.get(&format!("{ANSWER}{brought}")).location, "/account?openid=linked");
    assert_eq!(ada.who().unwrap()["signs_in"], json!({"password": true, "provider": true}));
    let page = ada.get("/account").text;
    assert!(page.contains("Unlink Team"), "{page}");
    assert_eq!(audit(&server, "openid_linked")[0], ("Ada".to_owned(), "To Team, as 248289761001.".to_owned()));
    let mut other = Browser::new(&server.url);
    assert_eq!(signs_in(&mut other, &provider, "").location, "/");
    assert_eq!(other.who().unwrap()["name"], "Ada");
    // What is Ada's is not Bob's.
    let brought = go(&mut bob);
    assert_eq!(bob.get(&format!("{ANSWER}{brought}")).location, "/account?openid=taken");
    // A page of another origin can ask for neither.
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    for path in ["/account/openid", "/account/openid/unlink"] {
        let cookie = format!("stepcast_session={}", ada.cookies["stepcast_session"]);
        let asked = agent.post(format!("{}{path}", server.url)).header("cookie", cookie);
        assert_eq!(asked.header("origin", "http://127.0.0.1:1").send(&*with_password).unwrap().status(), 403);
    }
    assert_eq!(ada.form("/account/openid/unlink", "").location, "/account?openid=unlinked");
    assert_eq!(ada.who().unwrap()["signs_in"], json!({"password": true, "provider": false}));
    assert_eq!(signs_in(&mut other, &provider, "").location, "/sign-in?openid=stranger");
    assert_eq!(audit(&server, "openid_unlinked").len(), 1);
}

#[test]
fn a_key_that_the_provider_has_changed_is_read_anew() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "viewer"]);
    let mut browser = Browser::new(&server.url);
    assert_eq!(signs_in(&mut browser, &provider, "").location, "/");
    let read = |asked: &[String]| asked.iter().filter(|path| *path == "/keys").count();
    assert_eq!(read(&provider.asked()), 1);
    assert_eq!(signs_in(&mut browser, &provider, "").location, "/");
    assert_eq!(read(&provider.asked()), 0, "it is known");
    provider.says(Says { signs_by: 7, names: 7, publishes: 7, ..Says::default() });
    assert_eq!(signs_in(&mut browser, &provider, "").location, "/");
    assert_eq!(read(&provider.asked()), 1);
}

#[test]
fn a_provider_that_is_not_there_or_not_the_one_keeps_nobody_from_a_password() {
    // A port that is free: the provider comes to it later.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let issuer = format!("http://{free}");
    let server = Server::start(&["--openid-issuer", &issuer, "--openid-client-id", CLIENT]);
    account(server.data_dir(), "Ada", "admin");
    let mut browser = Browser::new(&server.url);
    let back = browser.get("/sign-in/openid?next=/tokens");
    assert_eq!(back.location, "/sign-in?openid=unreachable&next=/tokens");
    let page = browser.get(&back.location).text;
    assert!(page.contains("127.0.0.1 cannot be reached now") && page.contains("Sign in with 127.0.0.1"), "{page}");
    let body = format!("name=Ada&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(browser.form("/sign-in", &body).location, "/");
    // One that calls itself otherwise, or sends people where others can listen, is none.
    for metadata in [
        json!({"issuer": "http://127.0.0.1:1"}),
        json!({"authorization_endpoint": "http://id.example.org/authorize"}),
        json!({"jwks_uri": "http://id.example.org/keys"}),
    ] {
        let provider = Provider::start();
        provider.says(Says { metadata: metadata.clone(), ..Says::default() });
        let server = self::server(&provider, &["--openid-grants", "admin"]);
        let back = Browser::new(&server.url).get("/sign-in/openid");
        assert_eq!(back.location, "/sign-in?openid=unreachable", "{metadata}");
    }
    // Nor is one asked for a code where others can listen.
    let provider = Provider::start();
    provider.says(Says { metadata: json!({"token_endpoint": "http://id.example.org/token"}), ..Says::default() });
    let server = self::server(&provider, &["--openid-grants", "admin"]);
    assert_eq!(signs_in(&mut Browser::new(&server.url), &provider, "").location, "/sign-in?openid=unreachable");
}

#[test]
fn what_the_provider_says_no_with_is_told_in_known_words_alone() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "viewer"]);
    let mut browser = Browser::new(&server.url);
    let mut no = |error: &str| {
        let sent = browser.get("/sign-in/openid");
        let state = parameters(&sent.location)["state"].clone();
        let back = browser.get(&format!("{ANSWER}?state={state}&error={error}&error_description=%3Cscript%3Ecall+555"));
        let page = browser.get(&back.location).text;
        assert!(!page.contains("555"), "{page}");
        back.location
    };
    assert_eq!(no("access_denied"), "/sign-in?openid=denied");
    assert_eq!(no("temporarily_unavailable"), "/sign-in?openid=not_now&reason=temporarily_unavailable");
    assert_eq!(no("%3Cscript%3Ealert(1)%3C/script%3E"), "/sign-in?openid=not_now");
    // Nor does an address that somebody made up say anything on the page.
    let page = Browser::new(&server.url).get("/sign-in?openid=call+555&reason=call+555").text;
    assert!(!page.contains("role=\"alert\"") && !page.contains(">call 555"), "{page}");
}

/// Any page of another site can have a browser ask for the address of answers: that keeps nobody out.
#[test]
fn answers_that_nobody_asked_for_keep_nobody_out() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "viewer"]);
    let mut browser = Browser::new(&server.url);
    for _ in 0..100 {
        assert_eq!(browser.get(&format!("{ANSWER}?state=a&code=b")).location, "/sign-in?openid=late");
    }
    let brought = goes(&mut browser, &provider, "");
    // Nor do they end a sign-in that was begun.
    for stray in ["", "?state=a&code=b", "?state=a&error=access_denied"] {
        assert_eq!(browser.get(&format!("{ANSWER}{stray}")).location, "/sign-in?openid=late");
    }
    assert_eq!(browser.get(&format!("{ANSWER}{brought}")).location, "/");
    assert!(!browser.cookies.contains_key("stepcast_openid"));
    let refused = server.get("/api/v1/audit?action=sign_in_refused").json();
    assert_eq!(refused, json!([]), "what was not begun writes nothing");
}

/// A page of another site that sends a browser to the provider would have who sits there sign in as somebody else.
#[test]
fn another_site_begins_no_sign_in_and_the_answer_comes_from_one() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "viewer"]);
    let mut browser = Browser::new(&server.url);
    for (path, there) in [
        ("/sign-in/openid?next=/tokens", "/sign-in?openid=elsewhere&next=/tokens"),
        ("/sign-in/openid?invitation=abc", "/welcome?invitation=abc&openid=elsewhere"),
    ] {
        let seen = browser.get_from("cross-site", path);
        assert_eq!((seen.status, seen.location.as_str(), seen.set.len()), (303, there, 0), "{}", seen.text);
    }
    let page = browser.get("/sign-in?openid=elsewhere&next=/tokens").text;
    assert!(page.contains("Another site has sent you here") && page.contains("Sign in with Team"), "{page}");
    browser.is_person = false;
    assert_eq!(browser.get_from("cross-site", "/sign-in/openid").status, 403);
    browser.is_person = true;
    for site in ["same-origin", "same-site", "none"] {
        let sent = browser.get_from(site, "/sign-in/openid");
        let brought = provider.consents(&sent.location);
        assert_eq!(browser.get_from("cross-site", &format!("{ANSWER}{brought}")).location, "/", "{site}");
    }
}

#[test]
fn answers_that_were_begun_and_refused_make_the_next_ones_wait_and_no_password() {
    let provider = Provider::start();
    let server = server(&provider, &["--openid-grants", "viewer"]);
    account(server.data_dir(), "Ada", "admin");
    let mut browser = Browser::new(&server.url);
    let begun = Instant::now();
    // Each wait is twice the one before; what is asked meanwhile makes none longer.
    loop {
        let brought = goes(&mut browser, &provider, "");
        let state = brought.split("state=").nth(1).unwrap().split('&').next().unwrap();
        let back = browser.get(&format!("{ANSWER}?state={state}&error=server_error"));
        match back.location.strip_prefix("/sign-in?wait=").map(|seconds| seconds.parse::<u64>().unwrap()) {
            Some(seconds) if seconds >= 8 => break,
            Some(seconds) => assert!(seconds >= 1, "{}", back.location),
            None => assert_eq!(back.location, "/sign-in?openid=not_now&reason=server_error"),
        }
        assert!(begun.elapsed() < PATIENCE, "they are all looked at");
    }
    let brought = goes(&mut browser, &provider, "");
    browser.is_person = false;
    assert_eq!(browser.get(&format!("{ANSWER}{brought}")).status, 429, "a program is told so by the status");
    let body = format!("name=Ada&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(Browser::new(&server.url).form("/sign-in", &body).location, "/");
}

#[test]
fn wrong_options_are_refused_with_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("secret");
    std::fs::write(&empty, "").unwrap();
    let file = format!("@{}", empty.display());
    let issuer = ["--openid-issuer", "https://id.example.org"];
    for (arguments, must) in [
        (vec!["--openid-issuer", "http://id.example.org"], "https address"),
        (issuer.to_vec(), "--openid-client-id"),
        (vec!["--openid-client-id", "a"], "--openid-issuer"),
        ([&issuer[..], &["--openid-client-id", "a", "--openid-client-secret", &file]].concat(), "first line"),
        ([&issuer[..], &["--openid-client-id", "a", "--openid-grants", "owner of all"]].concat(), "viewer"),
        ([&issuer[..], &["--openid-client-id", "a", "--openid-name", ""]].concat(), "1 to 40 letters"),
    ] {
        let sentence = refused(&arguments);
        assert!(sentence.contains(must), "{arguments:?}: {sentence}");
    }
}
