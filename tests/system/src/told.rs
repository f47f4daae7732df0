//! A server of the tests that is written in Python: started with a pipe, it says in one line of
//! JSON where it is, and ends with its input.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Starts it, and reads its line.
pub(crate) fn start(command: &mut Command) -> (Child, Value) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be started");
    let out = child.stdout.take().expect("it is piped");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("what it says can be read");
    let told = serde_json::from_str(&line).expect("it says where it is, in JSON");
    (child, told)
}
