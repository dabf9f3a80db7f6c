//! A browser: it keeps its cookies, sends the site's own Origin, and follows nothing by itself.

use std::collections::BTreeMap;

/// What it was answered.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) location: String,
    pub(crate) refresh: String,
    /// The cookies that were set, whole.
    pub(crate) set: Vec<String>,
    pub(crate) text: String,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Browser {
    agent: ureq::Agent,
    url: String,
    /// By their names.
    pub(crate) cookies: BTreeMap<String, String>,
    /// Whether a person sits before it; a program does not say that it reads pages.
    pub(crate) is_person: bool,
}

impl Browser {
    pub(crate) fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None);
        let agent = config.max_redirects_will_error(false).build().into();
        Self { agent, url: url.to_owned(), cookies: BTreeMap::new(), is_person: true }
    }

    pub(crate) fn get(&mut self, path: &str) -> Seen {
        let request = self.agent.get(format!("{}{path}", self.url));
        let answer = request.header("accept", self.accept()).header("cookie", self.cookie()).call();
        self.seen(answer)
    }

    /// As [`Self::get`], where the page that the browser comes from is of this `site`, as browsers say it.
    pub(crate) fn get_from(&mut self, site: &str, path: &str) -> Seen {
        let request = self.agent.get(format!("{}{path}", self.url)).header("sec-fetch-site", site);
        let answer = request.header("accept", self.accept()).header("cookie", self.cookie()).call();
        self.seen(answer)
    }

    pub(crate) fn form(&mut self, path: &str, body: &str) -> Seen {
        let request = self.agent.post(format!("{}{path}", self.url)).header("origin", &self.url);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("accept", self.accept()).header("cookie", self.cookie()).send(body);
        self.seen(answer)
    }

    /// Whether it is signed in, and as whom.
    pub(crate) fn who(&mut self) -> Option<serde_json::Value> {
        let seen = self.get("/api/v1/account");
        (seen.status == 200).then(|| serde_json::from_str(&seen.text).unwrap())
    }

    fn accept(&self) -> &'static str {
        if self.is_person { "text/html" } else { "*/*" }
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn seen(&mut self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Seen {
        let mut answer = answer.unwrap();
        let all = |name: &str| -> Vec<String> {
            answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        let set = all("set-cookie");
        for cookie in &set {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let (location, refresh) = (all("location").concat(), all("refresh").concat());
        let text = answer.body_mut().read_to_string().unwrap();
        Seen { status: answer.status().as_u16(), location, refresh, set, text }
    }
}
