//! For the tests: the agent as it is, with a stand-in for the partition that holds no key and
//! answers every request with 401. `casemate-agent-probe DATA-DIR`.
//!
//! A file `refuse` in the data folder makes the stand-in refuse to start; a file `foreign` makes it
//! ask for a certificate that is not its own; a file `slow` makes it start and never get further,
//! without reading its channel.

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use casemate_agent::{COURIER_COMMAND, DevOptions, PARTITION_COMMAND, dev};
use casemate_channel::{PartitionEnd, Start, ToAgent, ToPartition, receive_start};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let Some(word) = std::env::args().nth(1) else { return ExitCode::from(2) };
    let done = match word.as_str() {
        PARTITION_COMMAND => stand_in(),
        COURIER_COMMAND => stand_in_courier(),
        data_dir => agent(data_dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn agent(data_dir: &str) -> Outcome {
    let any = "127.0.0.1:0".parse()?;
    let options = DevOptions {
        data_dir: Some(PathBuf::from(data_dir)),
        name: None,
        listen: any,
        hsm_listen: any,
        management_listen: any,
        limits: Vec::new(),
        retention_days: None,
        purge_protection: false,
        activate: false,
        engine: None,
        ephemeral: false,
        imds: None,
        identity: None,
        i_know_this_is_a_development_issuer: false,
    };
    Ok(dev(&options, &mut io::stdout())?)
}

/// Carries nothing, and ends when its partition does.
fn stand_in_courier() -> Outcome {
    let mut stream = casemate_channel::courier::inherit_stream()?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

fn stand_in() -> Outcome {
    let (start, pending) = receive_start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { serve(start, pending.into_end()?).await })
}

/// `DATA-DIR/NAME`, seen from the HSM's folder `DATA-DIR/hsm/dev`.
fn told(start: &Start, name: &str) -> bool {
    let folder = start.confine.root.as_ref().unwrap_or(&start.folder);
    folder.join("../..").join(name).exists()
}

async fn serve(start: Start, end: PartitionEnd) -> Outcome {
    if told(&start, "refuse") {
        let message = "the records do not fit the head; restore the folder".to_owned();
        let failed =
            ToAgent::Failed { code: "RecordsDoNotFit".to_owned(), message, passing: false };
        return Ok(end.send(&failed, None).await?);
    }
    if told(&start, "slow") {
        let folder = start.confine.root.as_ref().unwrap_or(&start.folder);
        std::fs::write(folder.join("pid"), std::process::id().to_string())?;
        return std::future::pending().await;
    }
    let tls = TlsAcceptor::from(certificate(&start, &end).await?);
    // Its end of the courier's stream, held as long as this process lives.
    let mut couriers = Vec::new();
    end.send(&ToAgent::Ready { pid: std::process::id(), activated: true }, None).await?;
    loop {
        match end.recv().await? {
            Some((ToPartition::Connection { .. }, Some(socket))) => {
                let tls = tls.clone();
                tokio::spawn(async move { answer(tls, socket).await });
            }
            Some((ToPartition::Stop, _)) => return Ok(end.send(&ToAgent::Stopped, None).await?),
            None => return Ok(()),
            Some((ToPartition::Courier, stream)) => couriers.push(stream),
            Some(_) => {}
        }
    }
}

async fn certificate(
    start: &Start,
    end: &PartitionEnd,
) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let key = KeyPair::generate()?;
    let mut names: Vec<String> = start.names.iter().map(|name| name.host.clone()).collect();
    names.sort();
    names.dedup();
    if told(start, "foreign") {
        names.push("login.localhost".to_owned());
    }
    let csr_pem = CertificateParams::new(names.clone())?.serialize_request(&key)?.pem()?;
    end.send(&ToAgent::CertificateRequest { csr_pem, names }, None).await?;
    let Some((ToPartition::Certificate { chain_pem }, None)) = end.recv().await? else {
        return Err("no certificate came".into());
    };
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from(key))?;
    Ok(Arc::new(config))
}

async fn answer(tls: TlsAcceptor, socket: OwnedFd) -> io::Result<()> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    let mut stream = tls.accept(tokio::net::TcpStream::from_std(stream)?).await?;
    let mut request = Vec::new();
    // To its end: what is left unread would turn the close into a reset.
    while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await? > 0 {}
    if !request.is_empty() {
        let pid = std::process::id();
        let body = pid.to_string();
        let head = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
    stream.shutdown().await
}
