//! Signed messages by Standard Webhooks: three headers, of which one is HMAC-SHA-256 over the other
//! two and the body. The receiver refuses old timestamps and ids that it has seen.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_audit_sinks::SinkSecret;
use http::request::Builder;

use crate::failure::SinkFailure;

/// What signs the messages of one sink.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn new(secret: Option<&SinkSecret>) -> Result<Self, SinkFailure> {
        let key = secret.and_then(SinkSecret::expose_signing_key).ok_or(SinkFailure::Secret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Adds the three headers.
    pub(crate) fn sign(&self, request: Builder, id: &str, seconds: i64, body: &[u8]) -> Builder {
        request
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", self.signature(id, seconds, body))
    }

    fn signature(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standards_own_example() {
        let secret = SinkSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signer = Signer::new(Some(&secret)).unwrap();
        let signature = signer.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn without_a_proper_secret_nothing_is_signed() {
        assert!(Signer::new(None).is_err());
        assert!(Signer::new(Some(&SinkSecret::new("whsec_".to_owned()))).is_err());
    }
}
