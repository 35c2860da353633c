"""Train a small convolutional network on the embedded digits, and see which digits it confuses.

The Trainer does what the notes describe under training: batches in a new order each epoch, softmax and cross-entropy,
backpropagation, a step of gradient descent with momentum.
Notes: "Training Neural Networks".
"""

from arguments import parse

from xpnet import data, models, optim, viz
from xpnet.train import Progress, Trainer

options = parse(__doc__)
train, test = data.load("digits")
if options.quick:  # full batches of 32: jax compiles each call for each shape
    train, test = train.take(range(44 * 32)), test.take(range(256))

model = models.build("cnn", train.shape, len(train.classes)).to(options.backend).initialize(seed=0)
trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.02, momentum=0.9), callbacks=[Progress()])
history = trainer.fit(train, test, epochs=1 if options.quick else 15, batch_size=32)

figures = trainer.evaluate(test)
print(f"{model.parameter_count:,} parameters, test accuracy {figures['accuracy']:.1%}")
for true, row in enumerate(figures["confusion"]):
    print(f"{true} predicted as:", "".join(f"{n or '.':>4}" for n in row))
assert figures["accuracy"] > 0.85


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(5, 3.4))
    viz.curves(history, ax=left)
    viz.confusion(figures["confusion"], train.classes, ax=right)
    return figure


options.save(picture)
print(
    "Notice: the training loss keeps falling after the test loss has stopped: from then on the network only memorizes"
)
print("the training digits. The numbers off the diagonal are the pairs of digits that it confuses.")
