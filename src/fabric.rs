//! The Fabric REST client: two calls, wire types, classification, the quota gate.
