//! `[gateway.tls]`: what the HTTP address proves its identity with.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, InconsistentKeys, ServerConfig};
use toml::Spanned;

use super::members::{Faults, Members};

/// Most bytes of a file; a chain has some thousand.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The protocols that are offered, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS with the certificate and the key that the table `tls` names, if it is there: the files are read
/// with the manifest.
pub(super) fn read(
    members: &mut Members<'_>,
    faults: &mut Faults<'_>,
) -> Option<Arc<ServerConfig>> {
    if !members.has("tls") {
        return None;
    }
    let mut table = members.take_table("tls", faults);
    let chain_file = take_file(&mut table, "certificate_file", faults);
    let key_file = take_file(&mut table, "key_file", faults);
    table.refuse_rest(faults);
    let chain = chain_file.and_then(|file| {
        let chain = read_chain(file.as_ref());
        take(chain, &file, faults).map(|chain| (file, chain))
    });
    let key = key_file.and_then(|file| take(read_key(file.as_ref()), &file, faults));
    let ((chain_file, chain), key) = chain.zip(key)?;
    take(config(chain, key), &chain_file, faults)
}

fn take_file(
    table: &mut Members<'_>,
    member: &str,
    faults: &mut Faults<'_>,
) -> Option<Spanned<String>> {
    let file: Spanned<String> = table.require(member, faults)?;
    let expanded = faults.expand(&file)?;
    Some(Spanned::new(file.span(), expanded))
}

fn take<T>(read: Result<T, String>, file: &Spanned<String>, faults: &mut Faults<'_>) -> Option<T> {
    let message = |reason| faults.add(file.span(), format!("{}: {reason}", file.as_ref()));
    read.map_err(message).ok()
}

fn read_file(file: &str) -> Result<Vec<u8>, String> {
    let file = Path::new(file);
    let cannot = |error| format!("cannot be read: {error}");
    if file.metadata().map_err(cannot)?.len() > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read(file).map_err(cannot)
}

fn read_chain(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read_file(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| describe(error, "certificate"))?;
    if chain.is_empty() {
        Err(describe(PemError::NoItemsFound, "certificate"))
    } else {
        Ok(chain)
    }
}

fn read_key(file: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = read_file(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| describe(error, "private key"))
}

fn describe(error: PemError, kind: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("has no {kind} in PEM"),
        error => format!("is no {kind} in PEM: {error}"),
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key in key_file is not that of the certificate".to_owned()
        }
        error => format!("the certificate or its key cannot be used: {error}"),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
    use tempfile::TempDir;

    use crate::manifest::Manifest;

    /// A folder with a certificate and its key.
    struct Files(TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().expect("a folder"));
            let made = generate_simple_self_signed(["localhost".to_owned()]);
            let CertifiedKey { cert, signing_key } = made.expect("a certificate");
            files.write("chain.pem", &cert.pem());
            files.write("key.pem", &signing_key.serialize_pem());
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).expect("written");
        }

        /// The faults of a manifest with these files.
        fn faults(&self) -> Vec<(usize, String)> {
            let text = "[gateway.tls]\ncertificate_file = '${FOLDER}/chain.pem'\nkey_file = '${FOLDER}/key.pem'\n";
            let folder = self.0.path().display().to_string();
            let parsed = Manifest::parse(text, &|_| Some(folder.clone()));
            let faults = parsed.map_or_else(|faults| faults, |_| Vec::new());
            let faults = faults.into_iter();
            faults.map(|fault| (fault.line, fault.message)).collect()
        }

        #[track_caller]
        fn assert_fault(&self, line: usize, name: &str, part: &str) {
            let faults = self.faults();
            let path = self.path(name).display().to_string();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].0, line, "{faults:?}");
            let message = &faults[0].1;
            assert!(
                message.starts_with(&path) && message.contains(part),
                "{message}"
            );
        }
    }

    #[test]
    fn certificate_and_its_key_are_read() {
        assert_eq!(Files::new().faults(), []);
    }

    #[test]
    fn files_that_are_not_there_or_hold_something_else_are_faults() {
        let files = Files::new();
        let chain = std::fs::read_to_string(files.path("chain.pem")).expect("a file");
        files.write("key.pem", &chain);
        files.assert_fault(3, "key.pem", "has no private key in PEM");
        files.write("key.pem", &"x".repeat(2 << 20));
        files.assert_fault(3, "key.pem", "has more than 1048576 bytes");
        std::fs::remove_file(files.path("key.pem")).expect("removed");
        files.assert_fault(3, "key.pem", "cannot be read: No such file");
        let files = Files::new();
        files.write("chain.pem", "");
        files.assert_fault(2, "chain.pem", "has no certificate in PEM");
        files.write("chain.pem", &chain.replace("-----END", "-----BROKEN"));
        files.assert_fault(2, "chain.pem", "is no certificate in PEM");
        let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        files.write("chain.pem", nothing);
        files.assert_fault(2, "chain.pem", "cannot be used");
    }

    #[test]
    fn key_of_another_certificate_is_a_fault() {
        let files = Files::new();
        let other = KeyPair::generate().expect("a key");
        files.write("key.pem", &other.serialize_pem());
        files.assert_fault(
            2,
            "chain.pem",
            "the key in key_file is not that of the certificate",
        );
    }

    #[test]
    fn both_files_are_needed() {
        let parsed = Manifest::parse("[gateway.tls]\ncert = 'x'\n", &|_| None);
        let faults = parsed.expect_err("faults");
        let messages: Vec<_> = faults.into_iter().map(|fault| fault.message).collect();
        let expected = [
            "gateway.tls.certificate_file is missing",
            "gateway.tls.key_file is missing",
            "unknown member gateway.tls.cert",
        ];
        assert_eq!(messages, expected);
    }
}
