//! Tests of gossip by stories and by chance, over toy holdings of real, signed records.

mod chaos;
mod hostile;
mod stories;
mod world;
