//! The development issuer from outside: requests in, answers out, and its tokens put before the
//! ordinary validator.

mod assertions;
mod documents;
mod folder;
mod grants;
mod groups;
mod managed_identity;
mod world;
