"""The peer of `xpnet serve`: FastAPI under uvicorn, Pillow, and a session of ONNX Runtime. Argument: the .onnx file."""

import io
import json
import socket
import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

app = FastAPI()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
(given,) = session.get_inputs()
_, height, width, channels = given.shape


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Answer an image by its three most probable classes."""
    image = Image.open(io.BytesIO(await request.body())).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    x = np.asarray(image, np.float32).reshape(1, height, width, channels)
    (chances,) = session.run(None, {given.name: x})[0]
    order = np.argsort(-chances)[:3]
    found = {"classes": [classes[k] for k in order], "probabilities": [float(chances[k]) for k in order]}
    return {"predictions": [found]}


if __name__ == "__main__":
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # of TCP by name: asyncio then
    listener.bind(("127.0.0.1", 0))  # sends without delay, as for a server that uvicorn binds itself
    listener.listen(128)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
