//! A recipe, the settings that are combined, and combinations of them that run.

/// The recipe to which settings are added.
pub const BASE: &str = r#"
name = "base"

[data]
source = "digits"
validation = 20
train_limit = 60
test_limit = 40

[teacher.network]
name = "small-teacher"
layers = [
    { kind = "conv", channels = 4, batch_norm = true, tap = "low" },
    { kind = "max-pool" },
    { kind = "conv", channels = 8, tap = "high" },
    { kind = "classifier", bias = true },
]

[teacher.train]
epochs = 1
batch = 30
optimizer = { kind = "sgd", learning_rate = 0.05 }

[intermediate.network]
name = "small"
layers = [
    { kind = "conv", channels = 4, bias = true, tap = "low" },
    { kind = "average-pool" },
    { kind = "conv", channels = 6, bias = true, tap = "high" },
    { kind = "linear", features = 12, bias = true },
    { kind = "classifier" },
]

[intermediate.train]
epochs = 1
batch = 30
optimizer = { kind = "sgd", learning_rate = 0.1 }

[conversion]
time_steps = 6
batch = 30

[student]
time_steps = 3
losses = [{ kind = "cross-entropy" }]

[student.train]
epochs = 1
batch = 30
optimizer = { kind = "adam", learning_rate = 1e-2 }
"#;

/// A word that stands for a setting, and the setting. Settings of one key follow each other, and a
/// recipe has at most one of them.
pub const SETTINGS: &[&str] = &[
    "percentile conversion.method={kind='threshold-balancing',policy={kind='percentile',\
     percentile=99}}",
    "maximum conversion.method={kind='threshold-balancing',policy={kind='maximum'}}",
    "weights conversion.method={kind='weight-normalisation',percentile=99}",
    "bounds conversion.method={kind='activation-bounds'}",
    "local conversion.method={kind='local-threshold-balancing',passes=2}",
    "relu intermediate.activation={kind='relu'}",
    "clip intermediate.activation={kind='clip',bound=2.0,train=true}",
    "qcfs intermediate.activation={kind='qcfs',levels=4,bound=2.0}",
    "averaged teacher.max_pool=average",
    "ann-scores conversion.class_scores=ann",
    "raw-scores conversion.class_scores=raw",
    "shift conversion.shift_steps=4",
    "uncalibrated conversion.calibration=[]",
    "calibrated conversion.calibration=[{kind='bias'}]",
    "calibrated-norms conversion.calibration=[{kind='batch-norm'},{kind='weights',steps=3}]",
    "potentials conversion.calibration=[{kind='weights',steps=3,batch=7},{kind='potential'}]",
    "scale conversion.scale=0.7",
    "hybrid intermediate.init=hybrid",
    "norms intermediate.network.layers=[{kind='conv',channels=4,batch_norm=true,tap='low'},\
     {kind='average-pool'},{kind='residual',channels=6,stride=2,batch_norm=true,dropout=0.1,\
     tap='high'},{kind='classifier'}]",
    "biases intermediate.network.layers=[{kind='conv',channels=4,bias=true,tap='low'},\
     {kind='residual',channels=6,stride=2,bias=true,tap='high'},{kind='linear',features=8,\
     bias=true},{kind='classifier',bias=true}]",
    "pooled intermediate.network.layers=[{kind='conv',channels=4,kernel=5,stride=2,\
     tap='low'},{kind='dropout',probability=0.2},{kind='conv',channels=6,kernel=1,\
     tap='high'},{kind='global-average-pool'},{kind='classifier'}]",
    "lif spiking.neuron={kind='lif'}",
    "leaky spiking.neuron={kind='lif',leak=0.9}",
    "time-constant spiking.neuron={kind='lif',leak={time_constant=4.0}}",
    "trained-leak spiking.neuron={kind='lif',leak={value=0.9,train=true}}",
    "plif spiking.neuron={kind='plif',leak=0.8}",
    "trained-threshold spiking.neuron.threshold={per='layer',train=true}",
    "channel-threshold spiking.neuron.threshold={per='channel',train=true}",
    "subtract spiking.neuron.reset=subtract",
    "zero spiking.neuron.reset=zero",
    "fire-last spiking.neuron.step_order=integrate-then-fire",
    "fire-first spiking.neuron.step_order=fire-then-integrate",
    "linear spiking.neuron.surrogate={kind='linear',damping=1.0}",
    "atan spiking.neuron.surrogate={kind='atan'}",
    "fast-sigmoid spiking.neuron.surrogate={kind='fast-sigmoid'}",
    "rectangular spiking.neuron.surrogate={kind='rectangular'}",
    "spike-time spiking.neuron.surrogate={kind='spike-time',alpha=0.5,beta=0.02}",
    "half-membrane spiking.neuron.initial_membrane={value=0.5}",
    "trained-membrane spiking.neuron.initial_membrane={value=0.5,per='neuron',train=true}",
    "direct spiking.encoding={kind='direct'}",
    "poisson spiking.encoding={kind='poisson'}",
    "poisson-unit spiking.encoding={kind='poisson',range='unit'}",
    "signed data.normalisation=signed",
    "unit data.normalisation=unit",
    "standard data.normalisation=standard",
    "augment data.augment={crop_padding=1,flip=true,cutout=2}",
    "on-sum student.losses=[{kind='cross-entropy',on='sum'}]",
    "on-step student.losses=[{kind='cross-entropy',on='step'},{kind='logit-regularisation'}]",
    "attention student.losses=[{kind='cross-entropy'},{kind='attention',taps=['low','high']}]",
    "softmax-maps student.losses=[{kind='cross-entropy'},{kind='attention',taps=['high'],\
     normalise='softmax'}]",
    "plain-maps student.losses=[{kind='attention',taps=['low'],normalise='none',\
     distance='mean-square'}]",
    "gradient-maps student.losses=[{kind='cross-entropy'},{kind='gradient-attention',\
     taps=['low','high'],include_current=false}]",
    "teacher-logits student.losses=[{kind='logits',on='step'},{kind='logits',on='sum',\
     temperature=2.0}]",
    "steps student.losses=[{kind='cross-entropy'},{kind='step-distillation',stop_gradient=true}]",
    "weak-steps student.losses=[{kind='logits'},{kind='step-distillation',\
     direction='weak-to-strong'}]",
    "cumulative student.losses=[{kind='cross-entropy'},{kind='cumulative-logits'}]",
    "spikes student.losses=[{kind='cross-entropy'},{kind='spike-distillation',window=1,\
     taps=['low','high']}]",
    "rates student.losses=[{kind='cross-entropy'},{kind='firing-rate',above_only=false}]",
    "converted student={start='converted'}",
    "random student={start='random',threshold=0.5}",
    "plain-norm student={start='random',batch_norm={kind='plain'}}",
    "scaled-norm student={start='random',threshold=0.5,batch_norm={kind='threshold-dependent'}}",
    "converted-teacher student.teacher=converted",
    "strong-teacher student.teacher=strong",
    "one-step student.time_steps=1",
    "two-steps student.time_steps=2",
    "four-steps student.time_steps=4",
    "seven-steps student.time_steps=7",
    "control student.without_distillation=true",
    "few-images student.train_limit=31",
    "f32 student.train.precision=f32",
    "bf16 student.train.precision=bf16",
    "ann-bf16 intermediate.train.precision=bf16",
    "sgd student.train.optimizer={kind='sgd',learning_rate=1e-2,nesterov=true}",
    "adamw student.train.optimizer={kind='adam',learning_rate=1e-3,weight_decay=1e-2,\
     decoupled=true,amsgrad=true}",
    "milestones student.train.schedule={kind='steps',milestones=[0.5],factor=0.5}",
    "cosine student.train.schedule={kind='cosine'}",
    "constant student.train.schedule={kind='constant'}",
    "micro student.train.micro_batch=7",
    "clip-norm student.train.clip_norm=1.0",
    "groups student.train.groups={weight={learning_rate=5e-3},bias={weight_decay=1e-2},\
     threshold={learning_rate=1e-2},leak={weight_decay=1e-3},initial-membrane={learning_rate=0.0}}",
    "ann-groups intermediate.train.groups={norm={weight_decay=0.0},\
     activation={learning_rate=0.05}}",
    "other-steps evaluation.time_steps=[5,8]",
    "offset evaluation.offset_steps=4",
    "int12 evaluation.weights=int12",
    "bf16-weights evaluation.weights=bf16",
    "longer stages.more={kind='student',from='student',train={epochs=1,batch=30,\
     optimizer={kind='sgd',learning_rate=1e-2}}}",
    "strong stages.strong={kind='student',from='converted',time_steps=6,\
     losses=[{kind='cross-entropy'}],train={epochs=1,batch=30,optimizer={kind='sgd',\
     learning_rate=1e-2}}}",
    "again stages.more={kind='student',from='random',threshold=0.5,batch_norm={kind='plain'},\
     teacher='intermediate',train={epochs=1,batch=30,optimizer={kind='adam',\
     learning_rate=1e-3}}}",
];

/// Recipes that run to their end. Each is a list of words of [`SETTINGS`].
pub const ROWS: &[&str] = &[
    "percentile relu ann-scores uncalibrated fire-last lif direct signed on-sum converted f32",
    "maximum clip raw-scores leaky poisson zero on-step few-images control cosine",
    "maximum fire-first spike-time raw-scores poisson on-sum seven-steps trained-threshold bf16",
    "weights time-constant fast-sigmoid subtract attention control four-steps micro constant",
    "bounds norms clip calibrated half-membrane shift poisson cumulative four-steps",
    "bounds clip scale trained-leak poisson-unit unit softmax-maps adamw groups bf16 averaged",
    "bounds qcfs half-membrane shift plain-maps seven-steps atan other-steps int12",
    "percentile norms qcfs trained-membrane rectangular teacher-logits bf16-weights bf16 groups",
    "weights biases fire-first seven-steps linear steps clip-norm augment sgd ann-bf16 milestones",
    "maximum pooled hybrid channel-threshold zero weak-steps two-steps longer",
    "norms shift ann-groups weights plif rates standard fast-sigmoid longer",
    "bounds norms clip raw-scores plif poisson zero cumulative trained-threshold groups bf16",
    "biases random hybrid trained-leak trained-threshold cumulative atan bf16 control",
    "biases plain-norm leaky zero attention bf16 again int12",
    "norms scaled-norm plif poisson",
    "pooled scaled-norm rates micro trained-threshold",
    "one-step random teacher-logits again",
    "norms half-membrane gradient-maps four-steps control bf16",
    "biases spikes strong-teacher strong bf16 control",
    "norms teacher-logits converted-teacher strong one-step plif",
    "local clip biases channel-threshold trained-membrane potentials offset other-steps",
    "local norms channel-threshold calibrated-norms scale poisson",
    "weights norms calibrated-norms half-membrane offset bf16-weights",
    "bounds qcfs pooled trained-membrane potentials offset two-steps",
];
