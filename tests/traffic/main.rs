//! Real traffic: the proxy and the DNS server in network namespaces of their own, with pods on a bridge.
//!
//! Takes root. Nothing outside of the namespaces is touched, and they go with the threads that made them.

#![allow(clippy::disallowed_methods, reason = "a test of real sockets waits in real time, on real threads")]

mod dns;
mod lab;
mod nodes;
mod speed;
mod tcp;
mod udp;
