//! TLS at the HTTP address.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Runtime, soon};
use crate::http2::{Client, request};

const NAME: &str = "localhost";

/// An authority that the clients trust, and the files of what it has issued.
struct Authority {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // What it issues must not look self-signed.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("authority.pem"), certificate.pem()).unwrap();
        let authority = Self {
            folder,
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        };
        authority.issue();
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Issues the next certificate, in the place of the one before.
    fn issue(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file("chain.pem"), certificate.pem()).unwrap();
        std::fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn manifest(&self) -> String {
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| self.file(name));
        let (chain, key) = (chain.display(), key.display());
        format!(
            "[gateway.tls]\ncertificate_file = '{chain}'\nkey_file = '{key}'\n\
             [functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo']\nconcurrency = 4\n"
        )
    }

    fn connector(&self, protocol: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    async fn curl(&self, runtime: &Runtime, options: &[&str]) -> String {
        let port = runtime.http.port();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--cacert"]);
        command.arg(self.file("authority.pem")).args(options);
        command.args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
        command.args(["--write-out", " %{http_code} %{http_version}"]);
        command.arg(format!("https://{NAME}:{port}/healthz"));
        let output = soon(command.output()).await.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }
}

async fn connect(runtime: &Runtime, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(runtime.http).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    soon(connector.connect(name, stream)).await.unwrap()
}

async fn certificate(runtime: &Runtime, connector: &TlsConnector) -> CertificateDer<'static> {
    let stream = connect(runtime, connector).await;
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Clients that connect anew for every ten requests, and each time expect an answer.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    fn start(runtime: &Runtime, authority: &Authority) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..4).map(|_| {
            let (over, connector) = (Arc::clone(&over), authority.connector("h2"));
            let address = runtime.http;
            tokio::spawn(async move {
                let mut answered = 0;
                while !over.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(address).await.unwrap();
                    let name = ServerName::try_from(NAME).unwrap();
                    let stream = soon(connector.connect(name, stream)).await.unwrap();
                    let client = Client::over(stream).await;
                    for _ in 0..10 {
                        let asked = request(Method::POST, "/echo");
                        match client.try_send(asked, b"{}").await {
                            Ok(response) => assert_eq!(response.status(), 200),
                            Err(error) => {
                                assert!(error.is_go_away(), "{error:?}");
                                break;
                            }
                        }
                        answered += 1;
                    }
                }
                answered
            })
        });
        let clients = clients.collect();
        Self { over, clients }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn curl_speaks_either_http_over_tls() {
    let authority = Authority::new();
    let runtime = Runtime::start(&authority.manifest()).await;
    let healthy = r#"{"status":"ok"} 200"#;
    for (options, version) in [
        (&["--http2"][..], "2"),
        (&["--http1.1"], "1.1"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--no-alpn"], "1.1"),
    ] {
        let answer = authority.curl(&runtime, options).await;
        assert_eq!(answer, format!("{healthy} {version}"), "{options:?}");
    }
    let old = ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
    let answer = authority.curl(&runtime, &old).await;
    assert!(answer.contains("curl: (35)"), "{answer}");
}

#[tokio::test]
async fn renewed_certificate_is_served_without_a_failed_request() {
    let authority = Authority::new();
    let first = authority.issue();
    let runtime = Runtime::start(&authority.manifest()).await;
    let connector = authority.connector("http/1.1");
    assert_eq!(certificate(&runtime, &connector).await, first);
    let load = Load::start(&runtime, &authority);
    let kept = Client::over(connect(&runtime, &authority.connector("h2")).await).await;
    let second = authority.issue();
    let (reloaded, text) = runtime.reload(&authority.manifest()).await;
    assert!(reloaded, "{text}");
    assert_eq!(certificate(&runtime, &connector).await, second);
    let response = kept.send(request(Method::POST, "/echo"), b"kept").await;
    assert_eq!(response.into_body(), "kept");
    load.end().await;
}

#[tokio::test]
async fn broken_renewed_certificate_changes_nothing() {
    let authority = Authority::new();
    let first = authority.issue();
    let runtime = Runtime::start(&authority.manifest()).await;
    authority.issue();
    std::fs::write(authority.file("chain.pem"), "half a fi").unwrap();
    let (reloaded, text) = runtime.reload(&authority.manifest()).await;
    assert!(!reloaded);
    let reason = format!(
        "functions.toml:2: {}: has no certificate in PEM",
        authority.file("chain.pem").display()
    );
    assert!(text.contains(&reason), "{text}");
    let connector = authority.connector("http/1.1");
    assert_eq!(certificate(&runtime, &connector).await, first);
}

#[tokio::test]
async fn runtime_is_replaced_without_a_failed_request() {
    let authority = Authority::new();
    let mut old = Runtime::start(&authority.manifest()).await;
    let load = Load::start(&old, &authority);
    let second = authority.issue();
    let mut new = old.launch_successor().await;
    new.await_line(|line| line["message"] == "the other runtime has given way")
        .await;
    let status = soon(old.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let connector = authority.connector("http/1.1");
    assert_eq!(certificate(&new, &connector).await, second);
    load.end().await;
}

#[tokio::test]
async fn client_that_does_not_finish_its_handshake_is_disconnected() {
    let authority = Authority::new();
    let runtime = Runtime::start(&authority.manifest()).await;
    // Nothing, and the beginning of a record that would have 512 bytes.
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = TcpStream::connect(runtime.http).await.unwrap();
        stream.write_all(begin).await.unwrap();
        assert_eq!(soon(stream.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    }
    assert!(authority.curl(&runtime, &[]).await.ends_with("200 2"));
}

#[tokio::test]
async fn connection_that_does_not_speak_tls_is_closed() {
    let authority = Authority::new();
    let runtime = Runtime::start(&authority.manifest()).await;
    let mut stream = TcpStream::connect(runtime.http).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut received = Vec::new();
    soon(stream.read_to_end(&mut received)).await.unwrap();
    // An alert, level fatal.
    assert!(
        received.starts_with(b"\x15\x03") && received[5] == 2,
        "{received:?}"
    );
}
