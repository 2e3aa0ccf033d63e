"""A worker and two parameter servers of TensorFlow, in one process. It prints what it finds as JSON."""

import json
import socket
import sys

import tensorflow as tf
from walk import walk

FILE = sys.argv[3]


def address():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


jobs = {"worker": [address()], "ps": [address(), address()]}
spec = tf.train.ClusterSpec(jobs)
servers = []
for job, addresses in jobs.items():
    for index in range(len(addresses)):
        servers.append(tf.distribute.Server(spec, job_name=job, task_index=index))
resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, rpc_layer="grpc")
with tf.distribute.ParameterServerStrategy(resolver).scope():
    found, model = walk(FILE)
found["places"] = [weight.value.device for weight in model.weights]
sys.stdout.write(json.dumps(found))
