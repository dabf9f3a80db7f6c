//! An authority that signs certificates, made with openssl's command line, and a node that speaks TLS with one of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Node, free_ports, new_folder};

/// A node with a second port for TLS, whose certificate is for `localhost` and no other name.
pub(crate) struct Secured {
    pub(crate) node: Node,
    port: u16,
    folder: PathBuf,
}

impl Secured {
    pub(crate) fn start() -> Self {
        let folder = new_folder();
        let (key, authority) = (folder.join("authority.key"), folder.join("authority.pem"));
        openssl(
            &folder,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout {} -out {}",
                key.display(),
                authority.display()
            ),
        );
        signed(&folder, "server", "localhost", "subjectAltName=DNS:localhost");
        signed(&folder, "client", "a-client", "extendedKeyUsage=clientAuth");
        let [port] = free_ports();
        let file = |name: &str| folder.join(name).display().to_string();
        let configuration = format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n",
            file("authority.pem"),
            file("server.pem"),
            file("server.key"),
        );
        let node = Node::start_in(folder.clone(), &configuration, None);
        Self { node, port, folder }
    }

    /// A URL over TLS with this host; virtual host and query follow.
    pub(crate) fn url(&self, host: &str, behind: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/{behind}", self.port)
    }

    /// A file of the authority: `authority.pem`, `client.pem`, `client.key`.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Makes `<name>.key` and `<name>.pem`.
fn signed(folder: &Path, name: &str, subject: &str, extension: &str) {
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"
        ),
    );
    fs::write(folder.join("extensions"), format!("basicConstraints=CA:FALSE\n{extension}\n")).unwrap();
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ),
    );
}

fn openssl(folder: &Path, words: &str) {
    let made = Command::new("openssl").args(words.split(' ')).current_dir(folder).output().expect("openssl is there");
    assert!(made.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&made.stderr));
}
