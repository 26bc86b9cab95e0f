#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by dracut: there will be a root, and the policy in the initramfs says which.
root=sealroot
rootok=1
