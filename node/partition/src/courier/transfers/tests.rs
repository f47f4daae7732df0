use std::sync::Arc;

use casemate_channel::transfer::{PIECE_BYTES_MAX, Report};
use casemate_channel::{Identity, Proven, SecretText};
use casemate_hsm::backup::Target;

use super::*;

fn folder() -> Folder {
    Target::new("https://h/c", "sig=1").unwrap().folder("f".to_owned())
}

/// An identity that the agent tells of, which a test changes.
struct Told(Mutex<Result<Proven, TransferError>>);

impl Identify for Told {
    fn identify(&self) -> BoxFuture<'_, Result<Proven, TransferError>> {
        Box::pin(async { self.0.lock().clone() })
    }
}

fn transfers(identity: Result<Proven, TransferError>) -> Arc<Transfers> {
    Arc::new(Transfers::new(Arc::new(Told(Mutex::new(identity)))))
}

fn proven(credential: &str) -> Proven {
    let identity = Identity {
        token_endpoint: "https://login.example/token".to_owned(),
        client_id: "hsm".to_owned(),
        federated: false,
        trust_anchors_pem: None,
        storage: vec!["https://h".to_owned()],
    };
    Proven { identity, credential: SecretText::new(credential.to_owned()) }
}

/// Begins an order, and gives its number as the courier sees it.
async fn begin(
    transfers: &Arc<Transfers>,
    sending: &mut mpsc::Receiver<ToCourier>,
) -> (u64, tokio::task::JoinHandle<Result<Vec<u8>, TransferError>>) {
    let asking = Arc::clone(transfers);
    let asked = tokio::spawn(async move { asking.get(&folder(), "part").await });
    let Some(ToCourier::Transfer(order)) = sending.recv().await else { panic!("no order") };
    assert_eq!((order.verb, order.bytes), (Verb::Get, 0));
    (order.id, asked)
}

fn report(id: u64, outcome: Outcome, bytes: u64) -> FromCourier {
    FromCourier::Transferred(Report { id, outcome, bytes })
}

#[tokio::test]
async fn an_object_goes_out_in_pieces_and_comes_back_whole() {
    let transfers = transfers(Err(TransferError::NoIdentity));
    let mut sending = transfers.attach();
    let object: Vec<u8> = (0..PIECE_BYTES_MAX * 2 + 7).map(|at| at.to_le_bytes()[0]).collect();
    let putting = Arc::clone(&transfers);
    let whole = object.clone();
    let put = tokio::spawn(async move { putting.put(&folder(), "part", whole).await });
    let Some(ToCourier::Transfer(order)) = sending.recv().await else { panic!("no order") };
    let mut seen = Vec::new();
    while u64::try_from(seen.len()).unwrap() < order.bytes {
        let Some(ToCourier::Piece { id, bytes }) = sending.recv().await else { panic!("no piece") };
        assert_eq!(id, order.id);
        seen.extend(bytes);
    }
    assert_eq!(seen, object);
    transfers.hear(report(order.id, Outcome::Done, 0)).await;
    put.await.unwrap().unwrap();

    let (id, asked) = begin(&transfers, &mut sending).await;
    transfers.hear(report(id, Outcome::Done, order.bytes)).await;
    for piece in pieces(&object) {
        transfers.hear(FromCourier::Piece { id, bytes: piece.to_vec() }).await;
    }
    assert_eq!(asked.await.unwrap().unwrap(), object);
}

#[tokio::test]
async fn what_belongs_to_another_order_is_not_taken() {
    let transfers = transfers(Err(TransferError::NoIdentity));
    let mut sending = transfers.attach();
    let (id, asked) = begin(&transfers, &mut sending).await;
    transfers.hear(report(id + 1, Outcome::Done, 1)).await;
    transfers.hear(FromCourier::Piece { id: id + 1, bytes: vec![9] }).await;
    transfers.hear(report(id, Outcome::Done, 1)).await;
    transfers.hear(FromCourier::Piece { id: id + 1, bytes: vec![9] }).await;
    transfers.hear(FromCourier::Piece { id, bytes: vec![1] }).await;
    assert_eq!(asked.await.unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn refusals_and_a_death_are_told_and_nothing_too_long_is_taken() {
    let transfers = transfers(Err(TransferError::NoIdentity));
    let mut sending = transfers.attach();
    for (outcome, bytes, wanted) in [
        (Outcome::NotFound, 0, TransferError::NotFound("part".to_owned())),
        (Outcome::TooLong, 0, TransferError::TooLong),
        (Outcome::Taken, 0, TransferError::Taken("part".to_owned())),
        (Outcome::Kept("no".to_owned()), 0, TransferError::Kept("no".to_owned())),
        (Outcome::Denied("no".to_owned()), 0, TransferError::Denied("no".to_owned())),
        (Outcome::Refused("no".to_owned()), 0, TransferError::Refused("no".to_owned())),
        (Outcome::Done, u64::MAX, TransferError::TooLong),
    ] {
        let (id, asked) = begin(&transfers, &mut sending).await;
        transfers.hear(report(id, outcome, bytes)).await;
        assert_eq!(asked.await.unwrap().unwrap_err(), wanted);
    }
    let (id, asked) = begin(&transfers, &mut sending).await;
    transfers.hear(report(id, Outcome::Done, 1)).await;
    transfers.hear(FromCourier::Piece { id, bytes: vec![1, 2] }).await;
    assert_eq!(asked.await.unwrap().unwrap_err(), TransferError::TooLong, "more than was said");
    let (_, asked) = begin(&transfers, &mut sending).await;
    transfers.detach();
    assert_eq!(asked.await.unwrap().unwrap_err(), TransferError::NoCarrier);
    // The next one, when a courier is there again.
    let mut sending = transfers.attach();
    let (id, asked) = begin(&transfers, &mut sending).await;
    transfers.hear(report(id, Outcome::Done, 0)).await;
    assert_eq!(asked.await.unwrap().unwrap(), Vec::<u8>::new());
}

#[tokio::test]
async fn the_identity_is_looked_for_at_each_object_and_goes_where_it_is_wanted_alone() {
    let told = Arc::new(Told(Mutex::new(Ok(proven("one")))));
    let transfers = Arc::new(Transfers::new(Arc::<Told>::clone(&told)));
    let mut sending = transfers.attach();
    let by_identity = || Target::with_identity("https://h/c").unwrap().folder("f".to_owned());
    let next = async |sending: &mut mpsc::Receiver<ToCourier>, folder: Folder| {
        let asking = Arc::clone(&transfers);
        let asked = tokio::spawn(async move { asking.get(&folder, "part").await });
        let Some(ToCourier::Transfer(order)) = sending.recv().await else { panic!("no order") };
        transfers.hear(report(order.id, Outcome::Done, 0)).await;
        asked.await.unwrap().unwrap();
        (order.token, order.identity.map(|proven| *proven))
    };
    assert_eq!(next(&mut sending, by_identity()).await, (String::new(), Some(proven("one"))));
    *told.0.lock() = Ok(proven("two"));
    assert_eq!(next(&mut sending, by_identity()).await, (String::new(), Some(proven("two"))));
    // Who sends a token has that used, and the identity stays where it is.
    assert_eq!(next(&mut sending, folder()).await, ("sig=1".to_owned(), None));
    // Taken away meanwhile: nothing is ordered any more.
    for why in [TransferError::NoIdentity, TransferError::IdentityUnusable] {
        *told.0.lock() = Err(why.clone());
        assert_eq!(transfers.get(&by_identity(), "part").await.unwrap_err(), why);
        assert!(sending.try_recv().is_err(), "nothing was sent");
    }
}

#[tokio::test]
async fn that_no_token_was_given_is_told_as_such() {
    let transfers = transfers(Ok(proven("one")));
    let mut sending = transfers.attach();
    let (id, asked) = begin(&transfers, &mut sending).await;
    transfers.hear(report(id, Outcome::NoToken("no".to_owned()), 0)).await;
    assert_eq!(asked.await.unwrap().unwrap_err(), TransferError::NoToken("no".to_owned()));
}
