//! What callers are told of requests that mean nothing, are too much, or come as they should not.

use super::{Problem, S, sentence};
use crate::admission::TooManyUnderWay;
use crate::body::BodyRefusal;
use crate::refusals::TooManyRefused;
use crate::route::RouteRefusal;

pub(super) fn too_many_under_way(refusal: &TooManyUnderWay) -> Problem {
    let max = refusal.max;
    Problem::busy(format!(
        "You have {max} requests under way, the most that one caller may have; wait for some to be \
         answered."
    ))
}

pub(super) fn too_many_refused(refusal: TooManyRefused) -> Problem {
    let seconds = refusal.retry_s;
    Problem::busy(format!(
        "More of your calls were refused than are recorded one by one, so this one was not looked \
         at further. Correct what you ask for or have a role assigned, and try again in {seconds} \
         seconds; what you may do is done meanwhile."
    ))
    .after(seconds)
}

pub(super) fn route(refusal: RouteRefusal) -> Problem {
    let bad_id = |message| Problem::new(S::BAD_REQUEST, "Invalidkeyidentifier", message);
    match refusal {
        RouteRefusal::UnknownPath => Problem::new(
            S::NOT_FOUND,
            "NotFound",
            "There is nothing at this path; keys are at /keys/NAME[/VERSION].",
        ),
        RouteRefusal::Method(allow) => Problem {
            allow: Some(allow),
            ..Problem::new(
                S::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                format!("This path does not take this method; it takes {allow}."),
            )
        },
        RouteRefusal::KeyName => {
            bad_id("A key name has 1 to 127 characters, each a letter, a digit or a hyphen.")
        }
        RouteRefusal::Version => bad_id("A key version is 32 hexadecimal digits."),
        RouteRefusal::Guid => {
            Problem::bad("Principals and their roles are named by a GUID in the path.")
        }
        RouteRefusal::Schedule => Problem::bad(sentence(refusal)),
        RouteRefusal::Setting => Problem::new(
            S::NOT_FOUND,
            "SettingNotFound",
            "There is no setting of this name; GET /settings lists them.",
        ),
        RouteRefusal::Prefix => Problem::bad(
            "A scope by name prefix is /keys/PREFIX*: letters, digits and hyphens, and one star at \
             the end.",
        ),
        RouteRefusal::Encoding => Problem::bad("Path and query must be percent-encoded UTF-8."),
        RouteRefusal::TooLong => {
            Problem::new(S::URI_TOO_LONG, "BadParameter", "The path is too long.")
        }
    }
}

pub(super) fn body(refusal: &BodyRefusal) -> Problem {
    match refusal {
        BodyRefusal::TooLarge { bytes_max } => Problem::new(
            S::PAYLOAD_TOO_LARGE,
            "BadParameter",
            format!("The request body may have at most {bytes_max} bytes."),
        ),
        BodyRefusal::TooSlow { .. } => {
            Problem::new(S::REQUEST_TIMEOUT, "RequestTimeout", "The body did not arrive in time.")
        }
        BodyRefusal::TooManyLong { max } => Problem::busy(format!(
            "{max} keys are being restored already, the most at one time; try again in a moment."
        )),
        BodyRefusal::Broken => Problem::bad("The request body broke off."),
        BodyRefusal::Empty => Problem::bad("The request needs a JSON body."),
        BodyRefusal::NotJson { line, column } => Problem::bad(format!(
            "The request body is not valid JSON at line {line}, column {column}."
        )),
        BodyRefusal::Members { what } => {
            Problem::bad(format!("The request body cannot be used: {what}."))
        }
        BodyRefusal::WrongMember { line, column } => Problem::bad(format!(
            "The value that ends at line {line}, column {column} of the request body has a wrong \
             type or form; binary values are base64url, times are seconds."
        )),
    }
}
