//! Which node a pod goes on: filter -> score -> pick.
