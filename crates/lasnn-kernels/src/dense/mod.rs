//! Dense kernels of ordinary networks.
