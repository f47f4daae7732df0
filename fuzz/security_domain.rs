//! Requests, blobs, uploads and shares of a security domain: any caller and any file can bring any.
#![no_main]

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{Blob, DownloadRequest, Hidden, Share, Upload, combine, jwe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = DownloadRequest::parse(bytes, &SoftPrimitives) {
        let body = request.body(&SoftPrimitives);
        let again = DownloadRequest::parse(body.as_bytes(), &SoftPrimitives);
        let again = again.map(|again| (again.quorum, again.rotation));
        assert_eq!(again, Ok((request.quorum, request.rotation)));
    }
    if let Ok(blob) = Blob::parse(bytes) {
        assert!(blob.required() >= 2 && blob.holders().count() <= 10);
        assert!(blob.open(&[], &SoftPrimitives).is_err());
    }
    let _ = Upload::parse(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let key = Hidden::new(vec![0; 64]);
        assert!(jwe::open_direct(text, &key, &SoftPrimitives).is_err(), "no fuzzer makes a MAC");
    }
    if let Ok(share) = Share::parse(&Hidden::copied(bytes)) {
        assert!((1..=127).contains(&share.place()));
        assert!(combine(&[share]).is_err(), "one share opens nothing");
    }
});
