"""Train a small convolutional network on the embedded digits, and look at what it takes for what."""

from xpnet import data, models
from xpnet.train import Progress, Trainer

train, test = data.load("digits")
model = models.build("cnn", train.shape, len(train.classes)).initialize(seed=0)
trainer = Trainer(model, callbacks=[Progress()])
trainer.fit(train, test, epochs=3)

figures = trainer.evaluate(test)
print(f"{model.parameter_count:,} parameters, test accuracy {figures['accuracy']:.1%}")
for true, row in enumerate(figures["confusion"]):
    print(true, row)
assert figures["accuracy"] > 0.85
