"""Small nets for fuzz.py of what the architectures lack: other layers and options, data layers, the older form."""

LAYERS = """
name: "layers" input: "data" input_shape { dim: 1 dim: 3 dim: 24 dim: 32 }
layer { name: "bias0" type: "Bias" bottom: "data" top: "shifted" }
layer { name: "norm0" type: "BatchNorm" bottom: "shifted" top: "normed" batch_norm_param { eps: 0.001 } }
layer { name: "first" type: "Convolution" bottom: "normed" top: "first"
  convolution_param { num_output: 8 kernel_size: 3 kernel_size: 5 pad: 1 pad: 2 dilation: 1 axis: 1 } }
layer { name: "exp" type: "Exp" bottom: "first" top: "exp" exp_param { base: 2 scale: 0.1 shift: 0.5 } }
layer { name: "log" type: "Log" bottom: "exp" top: "log" log_param { base: 2 scale: 0.5 shift: 9 } }
layer { name: "shared" type: "PReLU" bottom: "log" top: "shared" prelu_param { channel_shared: true } }
layer { name: "whole" type: "Normalize" bottom: "shared" top: "whole"
  norm_param { across_spatial: true channel_shared: true eps: 0.0001 } }
layer { name: "floor" type: "Pooling" bottom: "whole" top: "floor"
  pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 2 pad_h: 1 pad_w: 0 round_mode: FLOOR } }
layer { name: "mean" type: "Pooling" bottom: "whole" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "vector" type: "Flatten" bottom: "mean" top: "vector" flatten_param { axis: 1 end_axis: -1 } }
layer { name: "gate" type: "Scale" bottom: "floor" bottom: "vector" top: "gate" scale_param { axis: 0 } }
layer { name: "plus" type: "Bias" bottom: "gate" bottom: "vector" top: "plus" bias_param { axis: 0 } }
layer { name: "groups" type: "Reshape" bottom: "plus" top: "groups"
  reshape_param { shape { dim: 2 dim: 4 } axis: 1 num_axes: 1 } }
layer { name: "shuffle" type: "Permute" bottom: "groups" top: "shuffle" permute_param { order: 0 order: 2 order: 1 } }
layer { name: "ungroup" type: "Flatten" bottom: "shuffle" top: "ungroup" flatten_param { axis: 1 end_axis: 2 } }
layer { name: "rows" type: "Scale" bottom: "ungroup" top: "rows" scale_param { axis: 2 num_axes: 2 bias_term: true } }
layer { name: "lrn" type: "LRN" bottom: "rows" top: "lrn" lrn_param { local_size: 5 k: 2 } }
layer { name: "cut" type: "Slice" bottom: "lrn" top: "left" top: "right" slice_param { axis: 3 slice_point: 9 } }
layer { name: "crop" type: "Crop" bottom: "left" bottom: "right" top: "crop" crop_param { axis: 3 offset: 0 } }
layer { name: "sharp" type: "Softmax" bottom: "left" top: "sharp" softmax_param { axis: -1 } }
layer { name: "join" type: "Concat" bottom: "sharp" bottom: "right" top: "join" concat_param { concat_dim: 3 } }
layer { name: "turned" type: "InnerProduct" bottom: "join" top: "turned"
  inner_product_param { num_output: 6 axis: -1 transpose: true bias_term: true } }
layer { name: "relu6" type: "ReLU6" bottom: "turned" top: "turned" }
layer { name: "boxes" type: "PriorBox" bottom: "lrn" bottom: "data" top: "boxes"
  prior_box_param { min_size: 4 min_size: 6 max_size: 8 max_size: 9 aspect_ratio: 2 flip: true clip: true img_size: 32
    step_h: 2 step_w: 2 offset: 0.5 variance: 0.1 } }
"""

DATA_LAYERS = """
name: "data_layers"
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TEST }
  transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017
    resize_param { prob: 1 resize_mode: WARP height: 40 width: 48 } }
  data_param { source: "x" batch_size: 8 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } transform_param { crop_size: 24 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 12 kernel_size: 3 stride: 4 } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" exclude { phase: TEST stage: "x" } }
layer { name: "loc" type: "Permute" bottom: "conv" top: "loc" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "flat" type: "Flatten" bottom: "loc" top: "mbox_loc" }
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "perm" type: "Permute" bottom: "conf" top: "perm" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "table" type: "Reshape" bottom: "perm" top: "table" reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
layer { name: "prob" type: "Softmax" bottom: "table" top: "prob" softmax_param { axis: 2 } }
layer { name: "row" type: "Flatten" bottom: "prob" top: "mbox_conf" }
layer { name: "priors" type: "PriorBox" bottom: "conv" bottom: "data" top: "priors"
  prior_box_param { min_size: 12.7 max_size: 20 aspect_ratio: 1 aspect_ratio: 2 flip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "loss" type: "MultiBoxLoss" bottom: "mbox_loc" bottom: "mbox_conf" bottom: "priors" bottom: "label"
  top: "loss" include { phase: TRAIN } multibox_loss_param { num_classes: 2 } }
layer { name: "out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "mbox_conf" bottom: "priors" top: "out"
  include { phase: TEST } detection_output_param { num_classes: 2 background_label_id: 1 code_type: CENTER_SIZE
    nms_param { nms_threshold: 0.4 top_k: 50 } keep_top_k: 20 confidence_threshold: 0.1 } }
layer { name: "eval" type: "DetectionEvaluate" bottom: "out" bottom: "label" top: "eval" }
layer { name: "rest" type: "Silence" bottom: "label" }
"""

V1 = """
name: "older" input: "data" input_dim: 2 input_dim: 3 input_dim: 20 input_dim: 28
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 6 kernel_size: 3 group: 1 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layers { name: "lrn" type: LRN bottom: "conv" top: "lrn" lrn_param { local_size: 3 alpha: 0.1 } }
layers { name: "pool" type: POOLING bottom: "lrn" top: "pool" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layers { name: "half" type: SLICE bottom: "pool" top: "a" top: "b" slice_param { slice_dim: 1 } }
layers { name: "power" type: POWER bottom: "a" top: "c" power_param { power: 2 scale: 0.1 shift: 1 } }
layers { name: "sum" type: ELTWISE bottom: "b" bottom: "c" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layers { name: "join" type: CONCAT bottom: "sum" bottom: "a" top: "join" concat_param { concat_dim: 1 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "join" top: "fc" inner_product_param { num_output: 4 } param: "shared" }
layers { name: "drop" type: DROPOUT bottom: "fc" top: "fc" dropout_param { dropout_ratio: 0.5 } }
layers { name: "acc" type: ACCURACY bottom: "fc" bottom: "label" top: "acc" include { phase: TRAIN } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""

NETS = {"layers": LAYERS, "data_layers": DATA_LAYERS, "older": V1}
