"""What runs while nobody is looking?"""
