//! The conformance suite.

