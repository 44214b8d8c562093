//! A mail server that keeps what it is given and refuses as it is told; in clear, after STARTTLS, or in TLS.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Clear,
    Starttls,
    Tls,
}

/// A letter it took.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    /// User and password, if somebody signed in.
    pub user: Option<(String, String)>,
    pub encrypted: bool,
}

impl Mail {
    pub fn header(&self, name: &str) -> String {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap_or((&self.data, ""));
        let unfolded = head.replace("\r\n ", " ");
        let found =
            unfolded.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        found.unwrap_or_default()
    }

    pub fn body(&self) -> String {
        self.data.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Inner {
    mails: Vec<Mail>,
    /// Answers to the next recipients, instead of taking them.
    refusals: Vec<&'static str>,
    n_connections: usize,
}

/// The server.
#[derive(Clone)]
pub struct MailServer {
    inner: Arc<Mutex<Inner>>,
    pub port: u16,
    /// The certificate of its TLS, as PEM.
    pub certificate: String,
}

impl MailServer {
    pub async fn start(security: Security) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                shared.lock().unwrap().n_connections += 1;
                let (inner, acceptor) = (Arc::clone(&shared), acceptor.clone());
                tokio::spawn(async move {
                    if security == Security::Tls {
                        if let Ok(stream) = acceptor.accept(socket).await {
                            talk(stream, &inner, Session { greets: true, ..Session::ENCRYPTED }).await;
                        }
                        return;
                    }
                    let offers_tls = security == Security::Starttls;
                    let session = Session { greets: true, offers_tls, encrypted: false };
                    if let Some(socket) = talk(socket, &inner, session).await
                        && let Ok(stream) = acceptor.accept(socket).await
                    {
                        talk(stream, &inner, Session::ENCRYPTED).await;
                    }
                });
            }
        });
        Self { inner, port, certificate }
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.inner.lock().unwrap().mails.clone()
    }

    /// Refuses the next recipients with these answers.
    pub fn refuse(&self, answers: &[&'static str]) {
        self.inner.lock().unwrap().refusals = answers.iter().rev().copied().collect();
    }
}

/// How a session begins.
#[derive(Clone, Copy)]
struct Session {
    greets: bool,
    offers_tls: bool,
    encrypted: bool,
}

impl Session {
    /// After STARTTLS the client goes on without a greeting.
    const ENCRYPTED: Self = Self { greets: false, offers_tls: false, encrypted: true };
}

/// Speaks SMTP. Returns the stream when the client asks for TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    inner: &Mutex<Inner>,
    session: Session,
) -> Option<S> {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail { encrypted: session.encrypted, ..Mail::default() };
    if session.greets {
        say(&mut stream, "220 test").await?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                let tls = if session.offers_tls { "250-STARTTLS\r\n" } else { "" };
                say(
                    &mut stream,
                    &format!("250-test\r\n{tls}250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN"),
                )
                .await?;
            }
            "STARTTLS" => {
                say(&mut stream, "220 go ahead").await?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                let asked = line.to_owned();
                let coded = rest.split(' ').next_back().unwrap_or_default();
                let text = String::from_utf8(STANDARD.decode(coded).ok()?).ok()?;
                let mut parts = text.split('\0').skip(1);
                let user = (parts.next()?.to_owned(), parts.next()?.to_owned());
                let is_known = user.1 == "s3cret";
                mail.user = Some(user);
                // Some servers repeat what they refuse.
                let refusal = format!("535 who are you: {asked} {text}").replace('\0', " ");
                say(&mut stream, if is_known { "235 welcome" } else { &refusal }).await?;
            }
            "MAIL" => {
                mail.from = address(rest);
                mail.to.clear();
                say(&mut stream, "250 ok").await?;
            }
            "RCPT" => {
                let refusal = inner.lock().unwrap().refusals.pop();
                if refusal.is_none() {
                    mail.to.push(address(rest));
                }
                say(&mut stream, refusal.unwrap_or("250 ok")).await?;
            }
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                mail.data.clear();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.ok()? == 0 {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                inner.lock().unwrap().mails.push(mail.clone());
                say(&mut stream, "250 taken").await?;
            }
            "QUIT" => {
                say(&mut stream, "221 bye").await;
                return None;
            }
            _ => say(&mut stream, "250 ok").await?,
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

fn address(text: &str) -> String {
    text.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
