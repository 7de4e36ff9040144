//! A spiking network, computed only where neurons fire.
