//! What holds for every [`Ledger`](super::super::Ledger).
