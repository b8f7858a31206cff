"""Evaluation: is a run better than its base, or than earlier runs?"""
