//! What the disk keeps, whatever happens to it.

mod crash;
mod damage;
