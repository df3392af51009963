//! Every engine flag, once.
