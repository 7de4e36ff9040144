//! Which outputs of a convolution an input position reaches.
//!
//! The backward pass stores the gradients of a layer in feature maps with a border of zeros. Every
//! input position then reaches all of its taps, so no loop has to check for the edges of a map. A
//! tap is one of the `kernel · kernel` positions of a convolution kernel. With a stride above 1,
//! different input positions reach different taps, and fall into classes accordingly.

use lasnn_core::Shape;

/// The outputs that each input position of a convolution reaches, in a padded feature map.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    /// By input position: the place in the padded map from which the offsets of its taps count.
    pub bases: Vec<u32>,
    /// By input position: its class.
    classes: Vec<u8>,
    /// By class: the taps that its positions reach.
    taps: Vec<Vec<Tap>>,
}

/// A tap that an input position reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// `row · kernel + column` in the convolution kernel.
    pub index: usize,
    /// The distance from the base of the input position to the output, in places of the padded map.
    pub offset: usize,
}

/// By tap: pairs of an input position and the output position that it reaches through the tap.
pub(crate) type Reached = Vec<Vec<[usize; 2]>>;

/// Input positions that reach the same taps.
#[derive(Clone, Debug)]
pub(crate) struct Class<'a> {
    pub taps: &'a [Tap],
    pub positions: Vec<usize>,
}

/// A feature map with a border of zeros on all sides. Its positions, border included, are called
/// places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Padded {
    /// The shape without the border.
    pub shape: Shape,
    /// The width of the border.
    pub border: usize,
}

impl Padded {
    /// The number of places.
    pub fn positions(&self) -> usize {
        (self.shape.height + 2 * self.border) * self.width()
    }

    /// The number of columns, border included.
    pub fn width(&self) -> usize {
        self.shape.width + 2 * self.border
    }

    /// The place of the first column of a row of the map.
    pub fn row(&self, row: usize) -> usize {
        (row + self.border) * self.width() + self.border
    }

    /// The place of a position of the map.
    pub fn place(&self, position: usize) -> usize {
        self.row(position / self.shape.width) + position % self.shape.width
    }

    /// The position of the map at a place, or `None` if the place is on the border.
    pub fn inside(&self, place: usize) -> Option<usize> {
        let row = (place / self.width()).checked_sub(self.border)?;
        let column = (place % self.width()).checked_sub(self.border)?;
        (row < self.shape.height && column < self.shape.width)
            .then_some(row * self.shape.width + column)
    }

    /// Writes zeros to the borders of maps `[map][place][lane]`.
    pub fn clear_border(&self, lanes: usize, maps: &mut [f32]) {
        let (row, border) = (self.width() * lanes, self.border * lanes);
        for map in maps.chunks_exact_mut(self.positions() * lanes) {
            let (above, map) = map.split_at_mut(self.border * row);
            let (map, below) = map.split_at_mut(self.shape.height * row);
            above.fill(0.0);
            below.fill(0.0);
            for row in map.chunks_exact_mut(row) {
                row[..border].fill(0.0);
                row[self.width() * lanes - border..].fill(0.0);
            }
        }
    }
}

impl Geometry {
    /// The geometry of a convolution from feature maps of shape `pooled` to `outputs`, whose border
    /// is at least `kernel / 2` wide.
    pub fn new(pooled: Shape, outputs: Padded, kernel: usize, stride: usize) -> Self {
        let reach = kernel / 2;
        // Input row `y` reaches output row `(y + reach - tap) / stride` where that is whole.
        let phase = |at: usize| (at + reach) % stride;
        let farthest = |phase: usize| (kernel - 1).saturating_sub(phase) / stride;
        let base = |at: usize| (at + reach) / stride + outputs.border - farthest(phase(at));
        let (mut bases, mut classes) = (Vec::new(), Vec::new());
        for y in 0..pooled.height {
            for x in 0..pooled.width {
                bases.push((base(y) * outputs.width() + base(x)) as u32);
                classes.push((phase(y) * stride + phase(x)) as u8);
            }
        }
        let along = |phase: usize| {
            let taps = (0..kernel).filter(move |tap| tap % stride == phase);
            taps.map(move |tap| (tap, farthest(phase) - (tap - phase) / stride))
        };
        let taps = |class: usize| {
            let columns = |(ky, down): (usize, usize)| {
                along(class % stride).map(move |(kx, right)| Tap {
                    index: ky * kernel + kx,
                    offset: down * outputs.width() + right,
                })
            };
            along(class / stride).flat_map(columns).collect()
        };
        Self { bases, classes, taps: (0..stride * stride).map(taps).collect() }
    }

    /// For each of `taps` taps, the input positions that reach an output through it, each with the
    /// position of that output in the map without its border.
    pub fn reached(&self, outputs: Padded, taps: usize) -> Reached {
        let mut reached = vec![Vec::new(); taps];
        for (position, (&base, &class)) in self.bases.iter().zip(&self.classes).enumerate() {
            for &Tap { index, offset } in &self.taps[class as usize] {
                if let Some(output) = outputs.inside(base as usize + offset) {
                    reached[index].push([position, output]);
                }
            }
        }
        reached
    }

    /// The classes that reach at least one tap.
    pub fn classes(&self) -> Vec<Class<'_>> {
        let positions = |class: usize| {
            let of_class = |&position: &usize| self.classes[position] as usize == class;
            (0..self.bases.len()).filter(of_class).collect()
        };
        let reaching = self.taps.iter().enumerate().filter(|(_, taps)| !taps.is_empty());
        reaching.map(|(class, taps)| Class { taps, positions: positions(class) }).collect()
    }
}

/// The shape of a convolution's weights `[outputs, inputs, taps]`, and of the input gradients.
#[derive(Clone, Copy)]
pub(crate) struct ConvShape {
    pub inputs: usize,
    pub taps: usize,
    /// Lanes of the input gradients, at least `inputs`.
    pub lanes: usize,
}
