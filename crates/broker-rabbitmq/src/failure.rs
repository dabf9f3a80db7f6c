//! What went wrong, in one sentence: lapin's errors as [`BrokerError`] and [`StartError`].

use broker::BrokerError;
use lapin::{Error, ErrorKind};

/// Reply codes of AMQP 0-9-1 that mean something particular to us.
pub(crate) const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
pub(crate) const RESOURCE_LOCKED: u16 = 405;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Why RabbitMQ cannot be used from the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL cannot be used.
    #[error("the broker's URL is wrong: {0}")]
    Url(String),
    /// Nobody answers, or not in AMQP.
    #[error("no RabbitMQ answers at {address}: {reason}")]
    NoAnswer {
        /// Host and port.
        address: String,
        /// As the system or the peer told it.
        reason: String,
    },
    /// It is not the RabbitMQ that we look for, or nobody vouches for it.
    #[error("the certificate of {address} is not trusted: {reason}")]
    Certificate {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name or the password is wrong.
    #[error("RabbitMQ at {address} refuses the credentials of user {user}")]
    Credentials {
        /// Host and port.
        address: String,
        /// From the URL.
        user: String,
    },
    /// The virtual host does not exist, or the user may not use it.
    #[error("RabbitMQ at {address} does not let user {user} into the virtual host {vhost}: {reason}")]
    VirtualHost {
        /// Host and port.
        address: String,
        /// From the URL.
        user: String,
        /// From the URL.
        vhost: String,
        /// As RabbitMQ told it.
        reason: String,
    },
    /// Exchanges and queues cannot be declared or read: a permission is missing, one exists with other properties, or the node
    /// has just started.
    #[error("Stepcast's exchanges and queues cannot be declared at {address}: {reason}")]
    Topology {
        /// Host and port.
        address: String,
        /// As RabbitMQ told it.
        reason: String,
    },
    /// None of the nodes that the URL names can be used.
    #[error("none of the {count} addresses of the broker can be used: {reasons}")]
    Several {
        /// How many the URL names.
        count: usize,
        /// A sentence for each.
        reasons: String,
    },
}

/// The reply code, where RabbitMQ gave one.
pub(crate) fn code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// One sentence.
pub(crate) fn sentence(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "it has not been heard of for too long".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether there is no such queue. Some seconds after a start RabbitMQ says with the same code that it is there and cannot be
/// reached yet.
pub(crate) fn is_missing(error: &Error) -> bool {
    code(error) == Some(NOT_FOUND) && sentence(error).contains("NOT_FOUND - no queue")
}

/// What a method of the broker answers.
pub(crate) fn unavailable(error: &Error) -> BrokerError {
    BrokerError::Unavailable(sentence(error))
}

/// The same where the method was about one queue.
pub(crate) fn about(queue: &str, error: &Error) -> BrokerError {
    match code(error) {
        Some(NOT_FOUND) if is_missing(error) => BrokerError::NoQueue(queue.to_owned()),
        Some(RESOURCE_LOCKED) => BrokerError::InUse(queue.to_owned()),
        Some(ACCESS_REFUSED) if sentence(error).contains("exclusive use") => BrokerError::InUse(queue.to_owned()),
        Some(PRECONDITION_FAILED) if sentence(error).contains("inequivalent") => {
            BrokerError::Differs(format!("{queue} ({})", sentence(error)))
        }
        _ => unavailable(error),
    }
}

/// Why a connection could not be opened.
pub(crate) fn refused(address: &str, user: &str, vhost: &str, error: &Error) -> StartError {
    let (address, user, reason) = (address.to_owned(), user.to_owned(), sentence(error));
    match code(error) {
        Some(ACCESS_REFUSED) => StartError::Credentials { address, user },
        Some(NOT_ALLOWED) => StartError::VirtualHost { address, user, vhost: vhost.to_owned(), reason },
        _ if reason.contains("InvalidContentType") => {
            StartError::NoAnswer { address, reason: "it does not speak TLS on this port".to_owned() }
        }
        _ if reason.contains("UnknownIssuer") => StartError::Certificate {
            address,
            reason: "no authority that is known has signed it; name the file of the one that did with ?cacertfile="
                .to_owned(),
        },
        _ if let Some((_, what)) = reason.split_once("invalid peer certificate: ") => {
            StartError::Certificate { address, reason: what.to_owned() }
        }
        _ => StartError::NoAnswer { address, reason },
    }
}
