//! Within the namespace: connections to pods of other nodes are redirected to one listener.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use ipnet::Ipv4Net;

/// Where that listener is. Nothing else listens in the namespace but on virtual addresses.
pub(super) const PORT: u16 = 15_001;
/// The switch by which the namespace answers what it does not carry.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Redirects connections to `pods`. To be called on the namespace's thread, because processes and files of `/proc/sys/net`
/// follow their thread's namespace. Takes some milliseconds.
pub(super) fn set_up(pods: Ipv4Net) -> io::Result<()> {
    std::fs::write(FORWARD, "1")?;
    restore(&format!("*nat\n-A PREROUTING -d {pods} -p tcp -j REDIRECT --to-ports {PORT}\nCOMMIT\n"))
}

/// Spares connections to `services` the tracking that redirection brings with it, which costs a tenth of the time of a
/// short one. To be called as [`set_up`], after it.
pub(super) fn spare(services: Ipv4Net) -> io::Result<()> {
    let untracked = "-j CT --notrack";
    restore(&format!("*raw\n-A PREROUTING -d {services} {untracked}\n-A OUTPUT -s {services} {untracked}\nCOMMIT\n"))
}

fn restore(rules: &str) -> io::Result<()> {
    let mut restore = Command::new("iptables-restore")
        .args(["-w", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("iptables-restore: {e}")))?;
    if let Some(mut input) = restore.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let done = restore.wait_with_output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("iptables-restore: {}", String::from_utf8_lossy(&done.stderr).trim())))
}
