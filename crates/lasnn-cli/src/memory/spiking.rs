//! What a spiking network takes: a recorded pass with its backward pass, and a simulation.
//!
//! The order of what is taken and given back is that of `lasnn_spiking_kernels`. Processors that
//! multiply tiles of bfloat16 are assumed where a pass rounds; on others the memory differs little.

use lasnn_core::{Layer, Plan, Shape};
use lasnn_neurons::Encoding;

use super::ledger::{Ledger, Part};
use super::ordinary::numbers;
use super::size::Size;

/// Channels of a word of spikes.
const LANES: usize = 16;

/// Channels that are multiplied together, and frames of a tile (`tiles::GROUP` and `SIDE`).
const GROUP: usize = 32;
const SIDE: usize = 16;

/// Outputs of a tile of a matrix, and how many of these a thread takes at once (`linear::TILE` and
/// `PANEL`).
const MATRIX_TILE: usize = 64;
const PANEL: usize = 8;

/// Bytes of gradients on maps, and of spikes as numbers, that a pass holds at once (`HELD`).
const HELD: usize = 64 << 20;

/// Rows of images and steps that a pass without history runs at once (`CHUNK_ROWS`).
const CHUNK_ROWS: usize = 256;

/// Bytes of the weights of a tile of channels (`convolution::TILE_BYTES`).
const TILE_BYTES: usize = 640 << 10;

/// Numbers of the input of a simulation that are in memory at once (`counting::CHUNK`).
const CHUNK: usize = 1 << 24;

/// How spiking kernels have their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Numbers of 32 bits, of those neurons that fired.
    Exact,
    /// Numbers of 16 bits.
    Halves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Convolution { taps: usize },
    Matrix,
    Identity,
}

/// What a site gets its currents from.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// The site that fires; none for the input.
    origin: Option<usize>,
    /// The map behind pooling.
    seen: Shape,
    connection: Connection,
    weights: Size,
    masked: bool,
}

/// A layer of neurons.
#[derive(Clone, Debug)]
struct Site {
    shape: Shape,
    sources: Vec<Source>,
    tapped: bool,
}

/// A spiking network as the kernels see it.
#[derive(Clone, Debug)]
pub struct Spiking {
    input: Shape,
    sites: Vec<Site>,
    readout: Source,
    /// The weights before the first site, where these see the image and no spikes.
    stem: Option<Size>,
    /// How often the input has each channel: twice where negative spikes have channels of their
    /// own.
    signs: usize,
}

/// How a pass is run.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Images at once.
    pub batch: Size,
    /// Time steps.
    pub steps: Size,
    /// How the weights are multiplied.
    pub format: Format,
    /// Threads that compute.
    pub threads: Size,
}

fn positions(shape: Shape) -> Size {
    Size::from(shape.height) * shape.width
}

impl Spiking {
    /// The sites of a plan.
    pub fn new(plan: &Plan, encoding: Encoding) -> Self {
        let direct = matches!(encoding, Encoding::Direct {});
        let mut builder = Builder {
            sites: Vec::new(),
            origin: None,
            seen: plan.input,
            masked: false,
            stem: None,
            direct,
        };
        plan.layers.iter().for_each(|planned| builder.layer(planned));
        let readout = builder.source(Connection::Matrix, plan.classes);
        let signs = match encoding {
            Encoding::Direct {} => 1,
            Encoding::Poisson { range: lasnn_neurons::PoissonRange::Signed } => 2,
            Encoding::Poisson { .. } => 1,
        };
        let Builder { sites, stem, .. } = builder;
        Self { input: plan.input, sites, readout, stem, signs }
    }

    /// The length of every weight.
    pub fn weights(&self) -> impl Iterator<Item = Size> + '_ {
        let sources = self.sites.iter().flat_map(|site| &site.sources).chain([&self.readout]);
        let behind = sources.map(|source| source.weights).filter(|&weights| weights > Size::ZERO);
        self.stem.into_iter().chain(behind)
    }

    fn first(&self) -> Option<Shape> {
        self.sites.first().map(|site| site.shape)
    }

    /// The channels of a layer, rounded up to whole tiles.
    fn lanes(&self, site: usize, format: Format) -> Size {
        let site = &self.sites[site];
        let channels = Size::from(site.shape.channels);
        let inputs = site.sources.iter().map(|source| match source.connection {
            Connection::Convolution { taps } => Size::from(source.seen.channels) * taps,
            _ => Size::new(1),
        });
        let inputs = inputs.max().unwrap_or(Size::new(1));
        if site.sources.iter().any(|source| source.connection == Connection::Matrix) {
            return channels.up_to_multiple_of(MATRIX_TILE);
        }
        let (bytes, least) = match format {
            Format::Exact => (4usize, LANES),
            Format::Halves => (2, GROUP),
        };
        let fits = |&tile: &usize| {
            let wasted = channels.up_to_multiple_of(tile) - channels;
            wasted * 4usize <= channels && inputs * tile * bytes <= TILE_BYTES.into()
        };
        channels.up_to_multiple_of([128, 64, 32].into_iter().find(fits).unwrap_or(least))
    }

    /// Lanes and positions of a site, for one image and step.
    fn frame(&self, site: usize, format: Format) -> Size {
        self.lanes(site, format) * positions(self.sites[site].shape)
    }

    /// Neurons of all sites.
    fn neurons(&self) -> Size {
        self.sites.iter().map(|site| numbers(site.shape)).sum()
    }

    /// The numbers of each site whose currents a tape keeps.
    fn kept(&self, pass: Pass) -> Vec<Size> {
        let frames: Vec<Size> =
            (0..self.sites.len()).map(|site| self.frame(site, pass.format)).collect();
        let rows = pass.batch * pass.steps;
        if pass.format == Format::Halves {
            // Slopes of spikes, four of them in the place of a number.
            return frames.iter().map(|&frame| frame * rows / 4usize).collect();
        }
        let bits: Size = frames.iter().copied().sum::<Size>() / 8usize;
        let mut left = self.neurons() - bits;
        let inputs = |site: usize| -> Size {
            let of = self.sites[site].sources.iter().map(|source| match source.connection {
                Connection::Convolution { taps } => Size::from(source.seen.channels) * taps,
                Connection::Matrix => numbers(source.seen),
                Connection::Identity => Size::new(1),
            });
            of.sum()
        };
        let mut dearest: Vec<usize> = (0..self.sites.len()).collect();
        dearest.sort_by_key(|&site| std::cmp::Reverse(inputs(site)));
        let mut kept = vec![Size::ZERO; self.sites.len()];
        for site in dearest {
            let bytes = frames[site] * size_of::<f32>();
            if bytes <= left && !self.sites[site].sources.is_empty() {
                kept[site] = frames[site] * rows;
                left = left - bytes;
            }
        }
        kept
    }

    /// The recorded pass and its backward pass. The gradients of the weights stay taken.
    pub fn train(&self, ledger: &mut Ledger, pass: Pass) {
        let Pass { batch, steps, format, .. } = pass;
        let rows = batch * steps;
        let kept = self.kept(pass);
        let input = self.take_input(ledger, Part::Tape, batch, steps);
        if let (None, Some(shape)) = (self.input_bits(rows), self.first()) {
            // Currents as the stem gives them, and as the kernels take them.
            ledger.take(Part::Tape, numbers(shape) * batch);
            ledger.take(Part::Tape, self.frame(0, format) * batch);
        }
        for site in 0..self.sites.len() {
            ledger.take(Part::Scratch, self.frame(site, format) * batch);
        }
        for (site, &kept) in kept.iter().enumerate() {
            ledger.hold(Part::Tape, self.bits(site, format, rows));
            if kept > Size::ZERO {
                ledger.take(Part::Tape, kept);
            }
            self.forward_site(ledger, Part::Scratch, site, pass, kept == Size::ZERO);
        }
        for site in 0..self.sites.len() {
            ledger.give(self.frame(site, format) * batch);
        }
        self.backward(ledger, pass);
        for (site, &kept) in kept.iter().enumerate() {
            ledger.free(Part::Tape, self.bits(site, format, rows));
            ledger.give(kept);
        }
        if let (None, Some(shape)) = (self.input_bits(rows), self.first()) {
            ledger.give(numbers(shape) * batch);
            ledger.give(self.frame(0, format) * batch);
        }
        ledger.free(Part::Tape, input);
    }

    /// Gives back the gradients of the weights.
    pub fn give_gradients(&self, ledger: &mut Ledger) {
        self.weights().for_each(|weights| ledger.give(weights));
    }

    /// Bytes of the spikes of a site.
    fn bits(&self, site: usize, format: Format, rows: Size) -> Size {
        self.frame(site, format) * rows / 8usize
    }

    /// Bytes of the spikes of the input, where it is spikes.
    fn input_bits(&self, rows: Size) -> Option<Size> {
        let channels = (Size::from(self.input.channels) * self.signs).up_to_multiple_of(LANES);
        let spikes = self.sites.first().is_some_and(|site| !site.sources.is_empty());
        spikes.then(|| channels * positions(self.input) * rows / 8usize)
    }

    /// Encodes the input of some steps, and says how many bytes of it stay.
    fn take_input(&self, ledger: &mut Ledger, part: Part, batch: Size, steps: Size) -> Size {
        let Some(bits) = self.input_bits(batch * steps) else { return Size::ZERO };
        let encoded = numbers(self.input) * batch * steps * size_of::<f32>();
        // Spikes, where they are signed also their negative, and both together.
        let all = encoded * if self.signs == 2 { 4usize } else { 1 };
        ledger.hold(part, all);
        ledger.free(part, all);
        let stays = encoded * self.signs + bits;
        ledger.hold(part, stays);
        stays
    }

    /// What a site needs while it runs.
    fn forward_site(
        &self,
        ledger: &mut Ledger,
        part: Part,
        site: usize,
        pass: Pass,
        own_currents: bool,
    ) {
        let Pass { batch, steps, format, threads } = pass;
        let rows = batch * steps;
        let sources = &self.sites[site].sources;
        let lanes = self.lanes(site, format);
        for source in sources {
            match (source.connection, format) {
                (Connection::Matrix, format) => {
                    let width = lanes.min(Size::from(PANEL * MATRIX_TILE));
                    let panels = lanes.div_ceil(width).min(threads);
                    if own_currents || format == Format::Halves {
                        ledger.take_some(part, width * rows, panels);
                    }
                    match format {
                        Format::Halves => {
                            ledger.pass_some(part, width * rows.up_to_multiple_of(SIDE), panels);
                            ledger.pass(part, as_numbers(source.seen, rows));
                        }
                        Format::Exact => lists(ledger, part, source.seen, rows),
                    }
                    ledger.give_some(width * rows, panels);
                }
                (Connection::Convolution { taps }, Format::Halves) => {
                    ledger.pass(part, lanes * taps * source.seen.channels / 2usize);
                }
                (Connection::Convolution { taps }, Format::Exact) => {
                    ledger.pass(part, lanes * taps * source.seen.channels);
                    lists(ledger, part, source.seen, rows);
                }
                (Connection::Identity, Format::Exact) => lists(ledger, part, source.seen, rows),
                (Connection::Identity, Format::Halves) => {}
            }
        }
        if format == Format::Halves && !self.is_matrix(site) && !sources.is_empty() {
            // Spikes are widened to bfloat16 for as many images at a time as fill a tile.
            let jobs = batch * lanes.div_ceil(128usize) / threads;
            let together = (Size::from(GROUP) / steps).min(jobs).max(Size::new(1)).min(batch);
            let neurons: Size = sources.iter().map(|source| numbers(source.seen)).sum();
            let waves =
                (Size::from(HELD) / (neurons * together * steps * 2usize)).max(Size::new(1));
            let groups = waves.min(batch.div_ceil(together));
            let frames = together * steps;
            for source in sources {
                ledger.take_some(part, as_numbers(source.seen, frames), groups);
            }
            for source in sources {
                ledger.give_some(as_numbers(source.seen, frames), groups);
            }
        }
    }

    fn is_matrix(&self, site: usize) -> bool {
        self.sites[site].sources.iter().any(|source| source.connection == Connection::Matrix)
    }

    fn origin_frame(&self, source: &Source, format: Format) -> Size {
        let lanes = match source.origin {
            Some(origin) => self.lanes(origin, format),
            None => Size::from(source.seen.channels),
        };
        lanes * positions(source.seen)
    }

    fn backward(&self, ledger: &mut Ledger, pass: Pass) {
        let Pass { batch, steps, format, .. } = pass;
        let rows = batch * steps;
        let part = Part::Scratch;
        // Gradients that are the same at every step: at the taps, and before the readout.
        let constant = |site: usize| self.sites[site].tapped || self.readout.origin == Some(site);
        let constants = || (0..self.sites.len()).filter(|&site| constant(site));
        for site in constants() {
            ledger.take(part, self.frame(site, format) * batch);
        }
        ledger.take(Part::Optimiser, self.readout.weights);
        ledger.pass(part, numbers(self.readout.seen) * batch);

        // Behind matrices all images at once. The gradient of the input spikes waits for its site.
        let behind_maps = self.behind_maps();
        let mut waiting: Option<(usize, Size)> = None;
        for site in (behind_maps..self.sites.len()).rev() {
            let lanes = self.lanes(site, format);
            ledger.take(part, lanes * rows);
            for source in &self.sites[site].sources {
                match format {
                    Format::Halves => {
                        ledger.take(part, as_pairs(source.seen, rows));
                        ledger.pass(part, lanes * pairs(rows));
                        ledger.give(as_pairs(source.seen, rows));
                    }
                    Format::Exact => lists(ledger, part, source.seen, rows),
                }
                ledger.take(Part::Optimiser, source.weights);
                if source.origin.is_none() {
                    continue;
                }
                let outputs = Size::from(self.sites[site].shape.channels);
                let (by_row, by_input) = (outputs * rows, numbers(source.seen) * rows);
                let gradient = self.origin_frame(source, format) * rows;
                ledger.take(part, by_row);
                ledger.take(part, by_input);
                ledger.take(part, gradient);
                ledger.give(by_row);
                ledger.give(by_input);
                if source.masked {
                    ledger.pass(part, self.origin_frame(source, format) * batch);
                }
                if let Some((_, before)) = waiting.replace((site, gradient)) {
                    ledger.give(before);
                }
            }
            ledger.give(lanes * rows);
        }
        self.backward_maps(ledger, pass, behind_maps);
        if let Some((_, gradient)) = waiting {
            ledger.give(gradient);
        }
        for site in constants() {
            ledger.give(self.frame(site, format) * batch);
        }
        // The stem is a layer of an ordinary network.
        if let (Some(weights), Some(first)) = (self.stem, self.first()) {
            ledger.pass(part, numbers(first) * batch);
            ledger.take(Part::Optimiser, weights);
        }
    }

    /// Sites before the first of those matrices behind which there are only matrices.
    fn behind_maps(&self) -> usize {
        let matrices = (0..self.sites.len()).rev().take_while(|&site| self.is_matrix(site));
        self.sites.len() - matrices.count()
    }

    /// On maps some images at a time.
    fn backward_maps(&self, ledger: &mut Ledger, pass: Pass, sites: usize) {
        let Pass { batch, steps, format, .. } = pass;
        let part = Part::Scratch;
        let per_image =
            (0..sites).map(|site| self.frame(site, format) * steps * (2 * size_of::<f32>()));
        let largest = per_image.max().unwrap_or(Size::new(1));
        let group = (Size::from(HELD) / largest).max(Size::new(1)).min(batch);
        let rows = group * steps;
        let mut packed = Size::ZERO;
        // Gradients that wait for the site that they come from, by site.
        let mut waiting: Vec<Vec<Size>> = vec![Vec::new(); sites];
        let mut copied = Size::ZERO;
        for site in (0..sites).rev() {
            let sources = &self.sites[site].sources;
            let lanes = self.lanes(site, format);
            let frame = self.frame(site, format);
            if self.sites[site].tapped {
                ledger.pass(part, frame * group);
            }
            if site + 1 == sites && group < batch {
                // What came from the matrices is copied for these images.
                copied = frame * rows;
                ledger.take(part, copied);
            }
            let deltas: Vec<Size> = match format {
                _ if sources.is_empty() => {
                    let sums = match format {
                        Format::Halves => frame.up_to_multiple_of(GROUP) * group,
                        Format::Exact => padded(self.sites[site].shape, 0) * lanes * group,
                    };
                    vec![sums, numbers(self.sites[site].shape) * batch]
                }
                // As rows, and as pairs of frames.
                Format::Halves => {
                    let groups = lanes.div_ceil(GROUP) * positions(self.sites[site].shape);
                    let by_row = groups * rows.up_to_multiple_of(SIDE) * SIDE;
                    vec![by_row, groups * pairs(rows) * GROUP]
                }
                Format::Exact => vec![padded(self.sites[site].shape, 1) * lanes * rows],
            };
            deltas.iter().for_each(|&delta| ledger.take(part, delta));
            waiting[site].drain(..).for_each(|gradient| ledger.give(gradient));
            ledger.give(copied);
            copied = Size::ZERO;
            let mut is_asked_later = false;
            for source in sources {
                match (source.connection, format) {
                    (Connection::Convolution { taps }, Format::Halves) => {
                        ledger.pass(part, as_pairs(source.seen, rows));
                        let bytes = lanes * taps * source.seen.channels * size_of::<f32>();
                        ledger.hold(part, bytes);
                        packed += bytes;
                    }
                    (Connection::Convolution { taps }, Format::Exact) => {
                        lists(ledger, part, source.seen, rows);
                        let bytes = lanes * taps * source.seen.channels * size_of::<f32>();
                        ledger.hold(part, bytes);
                        packed += bytes;
                    }
                    _ => {}
                }
                let Some(origin) = source.origin else { continue };
                match format {
                    Format::Halves => {
                        is_asked_later = true;
                        if let Connection::Convolution { taps } = source.connection {
                            let inputs = Size::from(source.seen.channels).up_to_multiple_of(GROUP);
                            let turned = inputs * taps * lanes / 2usize;
                            ledger.take(part, turned);
                            waiting[origin].push(turned);
                        }
                    }
                    Format::Exact => {
                        let gradient = self.origin_frame(source, format) * rows;
                        ledger.take(part, gradient);
                        waiting[origin].push(gradient);
                    }
                }
                if source.masked {
                    let mask = self.origin_frame(source, format) * group;
                    ledger.take(part, mask);
                    waiting[origin].push(mask);
                }
            }
            let earliest = sources.iter().filter_map(|source| source.origin).min();
            match earliest.filter(|_| is_asked_later) {
                Some(origin) => waiting[origin].extend(deltas),
                None => deltas.iter().for_each(|&delta| ledger.give(delta)),
            }
        }
        let sources = || self.sites[..sites].iter().flat_map(|site| &site.sources);
        for source in sources() {
            ledger.take(Part::Optimiser, source.weights);
        }
        ledger.free(part, packed);
    }

    /// A pass without history. `counted` says that the spikes of all neurons are counted.
    pub fn simulate(&self, ledger: &mut Ledger, part: Part, pass: Pass, counted: bool) {
        let Pass { batch, steps, format, .. } = pass;
        let chunk = (Size::from(CHUNK) / (numbers(self.input) * batch)).max(Size::new(1));
        let chunk = if counted { chunk.min(steps) } else { steps };
        let input = self.take_input(ledger, part, batch, chunk);
        if let (None, Some(shape)) = (self.input_bits(batch), self.first()) {
            ledger.take(part, numbers(shape) * batch);
            ledger.take(part, self.frame(0, format) * batch);
        }
        let counts =
            if counted { self.neurons() * batch * (2 * size_of::<f32>()) } else { Size::ZERO };
        ledger.hold(part, counts);
        for site in 0..self.sites.len() {
            ledger.take(part, self.frame(site, format) * batch);
        }
        let piece = (Size::from(CHUNK_ROWS) / batch).max(Size::new(1)).min(steps);
        let piece = Pass { steps: piece, ..pass };
        let mut bits = Size::ZERO;
        for site in 0..self.sites.len() {
            let of_site = self.bits(site, format, batch * piece.steps);
            ledger.hold(part, of_site);
            bits += of_site;
            self.forward_site(ledger, part, site, piece, true);
        }
        ledger.free(part, bits);
        for site in 0..self.sites.len() {
            ledger.give(self.frame(site, format) * batch);
        }
        ledger.free(part, counts);
        if let (None, Some(shape)) = (self.input_bits(batch), self.first()) {
            ledger.give(numbers(shape) * batch);
            ledger.give(self.frame(0, format) * batch);
        }
        ledger.free(part, input);
    }

    /// Threshold balancing: layer by layer, some time steps of all neurons of a layer at once.
    pub fn balance(&self, ledger: &mut Ledger, pass: Pass) {
        let (part, batch) = (Part::Activations, pass.batch);
        let widest = self.sites.iter().map(|site| numbers(site.shape)).max();
        let widest = widest.unwrap_or(Size::ZERO).max(numbers(self.input));
        let chunk = (Size::from(CHUNK) / (widest * batch)).max(Size::new(1)).min(pass.steps);
        let rows = batch * chunk;
        let of = |shape: Shape| numbers(shape) * rows;
        let input = numbers(self.input) * batch * size_of::<f32>();
        ledger.hold(part, input);
        let mut potentials = Size::ZERO;
        let mut before = Size::ZERO;
        for site in &self.sites {
            for source in &site.sources {
                if numbers(source.seen) != self.shape(source.origin) {
                    ledger.pass(part, of(source.seen));
                }
            }
            let spikes = of(site.shape) * size_of::<f32>();
            ledger.take(part, of(site.shape));
            // The host's copy of the currents that are watched, or spikes and potentials.
            ledger.hold(part, spikes);
            let of_site = numbers(site.shape) * batch * size_of::<f32>();
            ledger.hold(part, of_site);
            potentials += of_site;
            ledger.give(of(site.shape));
            ledger.free(part, before);
            before = spikes;
        }
        ledger.free(part, before + potentials + input);
    }

    fn shape(&self, origin: Option<usize>) -> Size {
        numbers(origin.map_or(self.input, |site| self.sites[site].shape))
    }

    /// Bytes of packed weights.
    pub fn packed(&self, format: Format) -> Size {
        let bytes = match format {
            Format::Exact => 4usize,
            Format::Halves => 2,
        };
        let sources = self.sites.iter().flat_map(|site| &site.sources).chain([&self.readout]);
        sources.map(|source| source.weights * bytes).sum()
    }

    /// All neurons of an image at the taps and elsewhere.
    pub fn all_neurons(&self) -> Size {
        self.neurons()
    }

    /// What a pass with gradients takes layer by layer, where no kernel runs the network as a
    /// whole: of each layer of neurons the currents and the spikes of all steps, in 32 bits.
    pub fn train_layer_by_layer(&self, ledger: &mut Ledger, pass: Pass) {
        let rows = pass.batch * pass.steps;
        let of = |site: &Site| {
            let seen = site.sources.iter().map(|source| numbers(source.seen));
            numbers(site.shape) * 2usize + seen.sum::<Size>()
        };
        let kept: Size = self.sites.iter().map(of).sum();
        let bytes = kept * rows * size_of::<f32>();
        ledger.hold(Part::Tape, bytes);
        let widest = self.sites.iter().map(|site| numbers(site.shape)).max();
        let scratch = widest.unwrap_or(Size::ZERO) * rows * (3 * size_of::<f32>());
        ledger.hold(Part::Scratch, scratch);
        let gradients = self.weights().sum::<Size>() * size_of::<f32>();
        ledger.hold(Part::Optimiser, gradients);
        ledger.free(Part::Tape, bytes);
        ledger.free(Part::Scratch, scratch);
        ledger.free(Part::Optimiser, gradients);
    }
}

/// A map of so many frames as numbers of 16 bits, a group of channels after the other.
fn as_numbers(seen: Shape, frames: Size) -> Size {
    let groups = Size::from(seen.channels).div_ceil(GROUP) * positions(seen);
    groups * frames.up_to_multiple_of(SIDE) * SIDE
}

/// Pairs of so many frames.
fn pairs(frames: Size) -> Size {
    frames.div_ceil(2usize).up_to_multiple_of(SIDE)
}

/// A map of so many frames as pairs of numbers of 16 bits.
fn as_pairs(seen: Shape, frames: Size) -> Size {
    Size::from(seen.channels).up_to_multiple_of(SIDE) * positions(seen) * pairs(frames)
}

/// Positions of a map with a border.
fn padded(shape: Shape, border: usize) -> Size {
    (Size::from(shape.height) + 2 * border) * (Size::from(shape.width) + 2 * border)
}

/// Lists of who fired. Of each image there is room for an eighth of its neurons, four bytes each,
/// at every step (`Events::of`), and a number for each position; a matrix sorts them once more.
fn lists(ledger: &mut Ledger, part: Part, seen: Shape, rows: Size) {
    let bytes = (numbers(seen) / 2usize + positions(seen) * 4usize) * rows;
    ledger.hold(part, bytes);
    ledger.free(part, bytes);
}

/// A circuit that is being built, layer by layer.
struct Builder {
    sites: Vec<Site>,
    origin: Option<usize>,
    seen: Shape,
    masked: bool,
    stem: Option<Size>,
    direct: bool,
}

impl Builder {
    fn source(&self, connection: Connection, outputs: usize) -> Source {
        let weights = match connection {
            Connection::Convolution { taps } => Size::from(self.seen.channels) * taps * outputs,
            Connection::Matrix => numbers(self.seen) * outputs,
            Connection::Identity => Size::ZERO,
        };
        let Self { origin, seen, masked, .. } = *self;
        Source { origin, seen, connection, weights, masked }
    }

    fn site(&mut self, shape: Shape, sources: Vec<Source>, tapped: bool) {
        self.sites.push(Site { shape, sources, tapped });
        self.origin = Some(self.sites.len() - 1);
        self.seen = shape;
        self.masked = false;
    }

    fn layer(&mut self, planned: &lasnn_core::PlannedLayer) {
        let output = planned.output;
        let tapped = planned.layer.tap().is_some();
        let is_first = self.direct && self.sites.is_empty();
        let connect = |builder: &mut Self, connection| {
            let source = builder.source(connection, output.channels);
            if is_first {
                builder.stem = Some(source.weights);
                builder.site(output, Vec::new(), tapped);
            } else {
                builder.site(output, vec![source], tapped);
            }
        };
        match planned.layer {
            Layer::Conv { kernel, .. } => {
                connect(self, Connection::Convolution { taps: kernel.saturating_mul(kernel) });
            }
            Layer::Linear { .. } => connect(self, Connection::Matrix),
            Layer::Residual { dropout, .. } => {
                let before = (self.origin, self.seen, self.masked);
                let first = self.source(Connection::Convolution { taps: 9 }, output.channels);
                self.site(output, vec![first], false);
                self.masked = dropout > 0.0;
                let second = self.source(Connection::Convolution { taps: 9 }, output.channels);
                (self.origin, self.seen, self.masked) = before;
                let shortcut = match planned.input == output {
                    true => Connection::Identity,
                    false => Connection::Convolution { taps: 1 },
                };
                let shortcut = self.source(shortcut, output.channels);
                self.site(output, vec![second, shortcut], tapped);
            }
            Layer::AveragePool { .. } | Layer::GlobalAveragePool {} => self.seen = output,
            Layer::Dropout { probability } => self.masked |= probability > 0.0,
            // No spiking network has the others, and the readout comes last.
            _ => {}
        }
    }
}
