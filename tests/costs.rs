//! What calls cost that can be counted: allocations, system calls, wake-ups.
