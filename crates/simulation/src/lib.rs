//! The seeded simulation of Stepcast's pure parts. It has no product code: everything is in its test, `tests/road`.
