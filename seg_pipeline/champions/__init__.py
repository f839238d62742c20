"""Who scores: the model that labels customers, and the segments, with ids and names, that it stands for."""
