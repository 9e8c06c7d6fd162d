//! What the tests against real parts share: the surroundings that `make test` has made, Warren as a
//! child process, the clients, and a look at the bytes on both of its legs.

pub(crate) mod clients;
pub(crate) mod coordinator;
pub(crate) mod gateway;
pub(crate) mod recorder;
pub(crate) mod surroundings;
pub(crate) mod wire;
