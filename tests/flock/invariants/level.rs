//! After a heal every host knows the feature level that all of them have.

use crate::host::Host;

pub fn check(hosts: &[Host]) -> Result<(), String> {
    let lowest = hosts.iter().map(|host| host.level).min().unwrap_or(skein::features::FIRST);
    for host in hosts {
        let level = host.node.as_ref().map(skein::node::Node::level);
        if level != Some(lowest) {
            return Err(format!("levels rise: {} has {level:?}, all have {lowest}", host.name()));
        }
    }
    Ok(())
}
