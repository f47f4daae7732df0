//! That changes do not cross, that what is told is what is in force, and that nothing else is shown
//! in the place of an own certificate that cannot be used.

use std::fs;
use std::io::Cursor;

use casemate_channel::{AgentEnd, PartitionEnd, ToAgent, ToPartition};
use casemate_engine_port::Secret;
use casemate_engine_soft::domain::DomainKeys;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use tokio::time::timeout;

use super::*;

/// The second day of 2026.
const NOW: i64 = 1_767_225_600 + 86_400;
const NAME: &str = "alpha.hsm.example";
/// Longer than anything takes that does not wait for somebody.
const SOON: Duration = Duration::from_secs(5);

struct At(i64);

impl Clock for At {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0)
    }
}

/// The agent, played by a test, with its authority.
struct Played {
    end: AgentEnd,
    issuer: Issuer<'static, KeyPair>,
}

fn issuer() -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::new(params, key)
}

impl Played {
    /// The next request for a certificate.
    async fn asked(&self) -> String {
        let (message, _) = self.end.recv().await.unwrap().expect("the partition is there");
        let ToAgent::CertificateRequest { csr_pem, .. } = message else { panic!("{message:?}") };
        csr_pem
    }

    async fn sign(&self, request: &str) {
        let mut asked = CertificateSigningRequestParams::from_pem(request).unwrap();
        asked.params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        asked.params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        let chain_pem = asked.signed_by(&self.issuer).unwrap().pem();
        self.end.send(&ToPartition::Certificate { chain_pem }, None).await.unwrap();
    }
}

struct Place {
    dir: tempfile::TempDir,
    agent: Arc<Agent>,
    played: Arc<Played>,
    trail: Trail,
}

impl Place {
    fn new() -> Self {
        let (end, theirs) = AgentEnd::pair().unwrap();
        let (agent, _arrivals) = Agent::attend(PartitionEnd::of(theirs).unwrap());
        let played = Arc::new(Played { end, issuer: issuer() });
        let (trail, _) = Trail::in_memory();
        Self { dir: tempfile::tempdir().unwrap(), agent, played, trail }
    }

    async fn opened(&self) -> Arc<Tls> {
        let (record, head, ..) = DomainKeys::derive(&Secret::new(vec![1; 32])).into_parts();
        let cipher = Arc::new(RecordCipher::new(record, head));
        let names = BTreeSet::from([NAME.to_owned()]);
        let folder = self.dir.path().to_owned();
        Tls::open(Arc::clone(&self.agent), cipher, folder, names, Arc::new(At(NOW))).await.unwrap()
    }

    /// With the node's certificate in force.
    async fn of_node(&self) -> Arc<Tls> {
        let played = Arc::clone(&self.played);
        let signing = tokio::spawn(async move { played.sign(&played.asked().await).await });
        let tls = self.opened().await;
        signing.await.unwrap();
        tls
    }

    fn own(&self) -> (String, OwnedFd) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        let path = self.dir.path().join("brought.pem");
        fs::write(&path, key.serialize_pem()).unwrap();
        let chain = params.signed_by(&key, &issuer()).unwrap().pem();
        (chain, fs::File::open(path).unwrap().into())
    }

    async fn import(&self, tls: &Tls) -> Value {
        let (chain_pem, key) = self.own();
        tls.order(TlsOrder::Import { chain_pem }, Some(key), &self.trail).await
    }

    async fn show(&self, tls: &Tls) -> Value {
        let showing = tls.order(TlsOrder::Show, None, &self.trail);
        timeout(SOON, showing).await.expect("nobody is waited for")["result"].clone()
    }
}

/// The certificate that a client is shown, by its SHA-256; none if the handshake fails.
fn met(tls: &Tls) -> Option<String> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let client = builder.with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    client.dangerous().set_certificate_verifier(Arc::new(seen::Any));
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(tls.config()).unwrap();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).ok()?;
        server.read_tls(&mut Cursor::new(bytes)).ok()?;
        server.process_new_packets().ok()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).ok()?;
        client.read_tls(&mut Cursor::new(bytes)).ok()?;
        client.process_new_packets().ok()?;
    }
    let leaf = client.peer_certificates()?.first()?.clone();
    let digest = SoftPrimitives.sha256(&leaf);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

mod seen {
    //! A client that believes anybody: what it is shown is looked at by the test.

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct Any;

    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _leaf: &CertificateDer<'_>,
            _rest: &[CertificateDer<'_>],
            _name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _leaf: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _message: &[u8],
            _leaf: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
        }
    }
}

#[tokio::test]
async fn a_renewal_and_an_order_do_not_cross() {
    let place = Place::new();
    let tls = place.of_node().await;
    let first = met(&tls).unwrap();
    let due = tls.shown.lock().renew_at;
    let renewing = tokio::spawn({
        let tls = Arc::clone(&tls);
        async move { tls.look(due).await }
    });
    let request = place.played.asked().await;
    assert_eq!(place.show(&tls).await["certificateSha256"], first, "while it is being renewed");
    let importing = tokio::spawn({
        let (tls, trail, (chain_pem, key)) = (Arc::clone(&tls), place.trail.clone(), place.own());
        async move { tls.order(TlsOrder::Import { chain_pem }, Some(key), &trail).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!importing.is_finished(), "it waits for its turn");
    place.played.sign(&request).await;
    assert_eq!(renewing.await.unwrap(), None);
    let own = importing.await.unwrap()["result"].clone();
    assert_eq!((&own["source"], &own["problems"]), (&"own".into(), &json!([])), "{own}");
    assert_eq!(own["certificateSha256"], met(&tls).unwrap());
    assert_eq!(place.show(&tls).await, own);
    // What was due before is not due any more, and a start uses the same.
    assert_eq!(tls.look(due).await.map(|says| says.contains("casemate tls request")), Some(true));
    let after = place.opened().await;
    assert_eq!(place.show(&after).await, own);
}

#[tokio::test]
async fn no_other_certificate_is_shown_in_the_place_of_one_that_cannot_be_used() {
    let place = Place::new();
    let tls = place.of_node().await;
    let own = place.import(&tls).await["result"]["certificateSha256"].clone();
    let path = place.dir.path().join("tls-own.sealed");
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"damaged").unwrap();
    assert_eq!(place.show(&tls).await["certificateSha256"], own, "the one in use is kept");
    assert_eq!(tls.look(UnixSeconds(NOW - 30 * 86_400)).await, None);
    assert_eq!(Value::from(met(&tls).unwrap()), own);

    let tls = place.opened().await;
    assert_eq!(met(&tls), None, "no connection is accepted");
    let shown = place.show(&tls).await;
    assert_eq!((&shown["source"], &shown["certificateSha256"]), (&"own".into(), &"".into()));
    let problem = shown["problems"][0].as_str().unwrap();
    assert!(problem.contains("tls-own.sealed") && problem.contains("tls reset"), "{problem}");
    assert!(tls.look(UnixSeconds(NOW)).await.unwrap().contains("no connection is accepted"));
    fs::remove_file(&path).unwrap();
    assert!(tls.look(UnixSeconds(NOW)).await.is_some(), "nothing falls back by itself");
    assert_eq!(met(&tls), None);

    fs::write(&path, good).unwrap();
    assert_eq!(tls.look(UnixSeconds(NOW)).await, None);
    assert_eq!(Value::from(met(&tls).unwrap()), own, "it is read again");
    assert_eq!(place.show(&tls).await["problems"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_used_is_replaced_by_an_order_alone() {
    let place = Place::new();
    let tls = place.of_node().await;
    place.import(&tls).await;
    let path = place.dir.path().join("tls-own.sealed");
    fs::write(&path, b"damaged").unwrap();
    let tls = place.opened().await;
    let own = place.import(&tls).await["result"].clone();
    assert_eq!((&own["certificateSha256"], &own["problems"]), (&met(&tls).into(), &json!([])));

    fs::write(&path, b"damaged").unwrap();
    let tls = place.opened().await;
    let resetting = tls.order(TlsOrder::Reset, None, &place.trail);
    let signing = async { place.played.sign(&place.played.asked().await).await };
    let (told, ()) = tokio::join!(resetting, signing);
    assert_eq!((&told["result"]["source"], path.exists()), (&"node".into(), false), "{told}");
    assert_eq!(told["result"]["certificateSha256"], met(&tls).unwrap());
}

#[tokio::test]
async fn a_reset_that_cannot_forget_changes_nothing_and_one_that_can_is_told_as_done() {
    let place = Place::new();
    let tls = place.of_node().await;
    let own = place.import(&tls).await["result"]["certificateSha256"].clone();
    let path = place.dir.path().join("tls-own.sealed");
    let sealed = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let reset = async || {
        let resetting = tls.order(TlsOrder::Reset, None, &place.trail);
        let signing = async { place.played.sign(&place.played.asked().await).await };
        tokio::join!(resetting, signing).0
    };
    let told = reset().await;
    assert!(told["error"].as_str().is_some_and(|text| text.contains("check the disk")), "{told}");
    assert_eq!(Value::from(met(&tls).unwrap()), own, "what is in force is what a start will use");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, sealed).unwrap();
    fs::create_dir(place.dir.path().join("tls-request.sealed")).unwrap();
    let told = reset().await;
    assert_eq!((&told["result"]["source"], path.exists()), (&"node".into(), false), "{told}");
    let left = told["result"]["problems"][0].as_str().unwrap_or_default();
    assert!(left.starts_with("it was done, but the key of the request"), "{told}");
}
