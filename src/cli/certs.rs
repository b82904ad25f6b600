//! `ringway certs`: a self-signed certificate and its key, to try TLS with.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;

use super::Failure;
use super::args::CertsArgs;
use super::terminal::Terminal;
use crate::base::clock::Now;

/// What the certificate is always for: this machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// What programs still accept of a certificate that is not from a public authority.
const LIFE: Duration = Duration::from_secs(825 * 86_400);
/// Clocks differ.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Writes cert.pem and key.pem. Files that are there already are kept, unless told otherwise.
pub(super) fn run(args: &CertsArgs, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let (cert, key) = (args.out.join("cert.pem"), args.out.join("key.pem"));
    for file in [&cert, &key] {
        if !args.force && file.exists() {
            let file = file.display();
            let text = format!("{file} is there already; --force replaces it");
            return Err(Failure::Failed(text));
        }
    }
    let (chain, secret) = make(&args.host).map_err(|error| Failure::Usage(error.to_string()))?;
    let folder = std::fs::create_dir_all(&args.out);
    folder.map_err(|error| failed(&args.out, &error))?;
    // The key first: whoever watches for the certificate finds both.
    write(&key, &secret, 0o600).map_err(|error| failed(&key, &error))?;
    write(&cert, &chain, 0o644).map_err(|error| failed(&cert, &error))?;
    terminal.print(&format!("{}\n{}\n", cert.display(), key.display()));
    Ok(ExitCode::SUCCESS)
}

fn failed(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", file.display()))
}

/// PEM of a certificate and of its key.
fn make(hosts: &[String]) -> Result<(String, String), rcgen::Error> {
    let mut names: Vec<String> = LOCAL.iter().map(|&name| name.to_owned()).collect();
    for host in hosts {
        if !names.contains(host) {
            names.push(host.clone());
        }
    }
    let common = hosts.first().map_or(LOCAL[0], String::as_str).to_owned();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = OffsetDateTime::UNIX_EPOCH + Now::read().unix;
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFE;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Replaces a file at once: nobody reads half of it, and its mode is right from birth.
fn write(file: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let new = file.with_extension("pem.new");
    let _ = std::fs::remove_file(&new);
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(mode).open(&new)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()?;
    std::fs::rename(&new, file)
}
