//! Tokens: the grant, its client authentication and caching.
