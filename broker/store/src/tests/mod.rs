//! Tests of the whole crate, on the simulated disk and on a real one.

mod basic;
mod crash;
mod damage;
mod faults;
mod model;
mod pages;
mod real;
mod reclaim;
mod salvage;
mod sets;
mod tools;
mod unread;
mod upgrade;
