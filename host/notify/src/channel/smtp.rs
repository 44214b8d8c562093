//! Sends e-mail through a mail server.

use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as Mode, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::config::{Channel, Tls};
use crate::failure::{Failure, with_causes};
use crate::mask::Mask;
use crate::sign::message_id;

/// A mail server and who writes.
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
    mask: Mask,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Says that no person wrote it, so that no vacation notice answers.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Reads an address such as `Ann <ann@example.com>`.
pub(crate) fn address(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|error| format!("`{text}` is no e-mail address: {error}"))
}

impl Smtp {
    pub(super) fn new(settings: &Channel, timeout: Duration) -> Result<Self, String> {
        if settings.host.is_empty() {
            return Err("host: the mail server is needed".to_owned());
        }
        let from = address(&settings.from).map_err(|error| format!("from: {error}"))?;
        for to in &settings.to {
            address(to).map_err(|error| format!("to: {error}"))?;
        }
        let (tls, port) = match settings.tls {
            Tls::None => (Mode::None, 25),
            Tls::Starttls => (Mode::Required(parameters(settings)?), 587),
            Tls::Tls => (Mode::Wrapper(parameters(settings)?), 465),
        };
        let port = if settings.port == 0 { port } else { settings.port };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(port)
            .tls(tls)
            .timeout(Some(timeout));
        if !settings.username.is_empty() {
            if settings.tls == Tls::None && !is_this_machine(&settings.host) {
                return Err("tls: `none` would send the password in clear".to_owned());
            }
            let password = settings.password.expose().to_owned();
            builder = builder.credentials(Credentials::new(settings.username.clone(), password));
        }
        let mut mask = Mask::default();
        mask.add_login(&settings.username, settings.password.expose());
        Ok(Self { transport: builder.build(), from, timeout, mask })
    }

    pub(super) async fn send(
        &self,
        key: &str,
        recipient: &str,
        subject: &str,
        body: String,
    ) -> Result<(), Failure> {
        let to = address(recipient).map_err(Failure::last)?;
        // The same in every repeat, so that mail programs can show it once.
        let id = format!("<{}@{}>", message_id([key]), self.from.email.domain());
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .header(AutoSubmitted)
            .body(body)
            .map_err(|error| Failure::last(format!("cannot write the e-mail: {error}")))?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => {
                Err(Failure::last(self.mask.hide(&with_causes(&error))))
            }
            Ok(Err(error)) => Err(Failure::passing(self.mask.hide(&with_causes(&error)))),
            Err(_) => Err(Failure::passing("the mail server did not take it in time")),
        }
    }
}

fn parameters(settings: &Channel) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    let file = &settings.ca_file;
    if !file.as_os_str().is_empty() {
        let pem = std::fs::read(file)
            .map_err(|error| format!("ca-file: cannot read {}: {error}", file.display()))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| format!("ca-file: {} holds no certificate: {error}", file.display()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| format!("tls: {error}"))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
