//! What API clients ask for.

use crate::ids::RequestId;
use crate::store::{Author, Rejected};
use crate::time::Now;

use super::{Node, Request, Waiter};

impl Node {
    pub(super) fn request(&mut self, now: Now, id: RequestId, request: Request) {
        if self.is_too_old() {
            let message = "this node was away for too long and is taking the cluster's state: try again".into();
            return self.answers.push((id, Err(Rejected::Unavailable { message })));
        }
        if let Err(rejected) = self.check_kind(&request.change) {
            return self.answers.push((id, Err(rejected)));
        }
        let result = if request.dry_run && self.is_decided(request.change.key()) {
            self.try_on_lease(now, request.change).map(|c| self.answers.push((id, Ok(c))))
        } else if request.dry_run {
            let tried = self.with_credentials(now, request.change);
            let tried = tried.and_then(|change| self.store.dry_run(now, Author::Client, self.term, change));
            tried.map(|c| self.answers.push((id, Ok(c))))
        } else {
            let change = request.change;
            // A Lease is for the voters' disks.
            let disk = if self.is_decided(change.key()) { Ok(()) } else { self.check_disk() };
            disk.and_then(|()| self.commit_for(now, Author::Client, request.user, change, Waiter::Request(id)))
        };
        if let Err(rejected) = result {
            self.answers.push((id, Err(rejected)));
        }
    }
}
