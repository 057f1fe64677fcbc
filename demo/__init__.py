"""The whole system on one machine: a simulated shed, an emulated AWS, a live page.

Production code never imports this.
"""
