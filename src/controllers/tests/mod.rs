//! The controllers together, on a small cluster in memory.

mod cluster;
mod cluster_roles;
mod deployments;
mod disruption;
mod garbage;
mod jobs;
mod lost_nodes;
mod namespaces;
mod objects;
mod pod_garbage;
mod replica_sets;
mod rollouts;
mod store;
mod taint_eviction;
