//! What should exist: one file a controller.
