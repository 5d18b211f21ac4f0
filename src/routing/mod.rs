//! Where traffic goes: routes projected from Services, EndpointSlices and liveness; the balancing choice; DNS answers.

pub mod routes;

pub use routes::Routes;
