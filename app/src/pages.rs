//! One file per URL. A page reads its data, says what stands where, and leaves the rest to components.

pub mod account;
pub mod audit;
pub mod build;
pub mod dead_letters;
pub mod executors;
pub mod gateways;
pub mod groups;
pub mod home;
pub mod new_pipeline;
pub mod not_found;
pub mod people;
pub mod pipeline;
pub mod search;
pub mod secrets;
pub mod sign_in;
pub mod tokens;
pub mod welcome;
