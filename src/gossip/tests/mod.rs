//! Tests of gossip by stories and by chance, over toy holdings of real, signed records.

mod chaos;
mod difference;
mod hostile;
mod spread;
mod stories;
pub mod world;
